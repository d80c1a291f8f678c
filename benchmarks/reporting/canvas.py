"""Canvas, axes and files of all figures: no pyplot, no global state, the same bytes every time."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.reporting.style import LineStyle
from fewshot.files import replacing

_RC: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: searchable, and readable by programs
    "svg.hashsalt": "fewshot-smooth-bench",
}
_SOFT = "#555555"
DPI = 160
"""Of the .png."""
PANEL = (4.2, 3.0)
"""Width and height of one panel, in inches."""
LETTERS_PER_INCH = 11
"""Of a figure's title, the widest ones apart."""
NOTE_LETTERS_PER_INCH = 15
MARKERS = 9
"""Markers along a line."""


@contextmanager
def styled() -> Iterator[None]:
    """Settings of all figures, for as long as the block lasts."""
    with mpl.rc_context(_RC):
        yield


def new_figure(rows: int, columns: int, title: str, panel: tuple[float, float] = PANEL) -> tuple[Figure, np.ndarray]:
    """A figure of rows × columns panels and its axes [rows, columns]; call within `styled`.

    The title is broken into lines that the figure is wide enough for.
    """
    figure = Figure(figsize=(panel[0] * columns, panel[1] * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_broken(title, figure, LETTERS_PER_INCH), fontsize=10.5, fontweight="bold")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _broken(text: str, figure: Figure, letters_per_inch: int) -> str:
    width = int(letters_per_inch * figure.get_figwidth())
    return "\n".join(part for line in text.splitlines() for part in textwrap.wrap(line, width))


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg, each complete or not at all; equal figures give equal bytes."""
    png, svg = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg"))
    with styled():
        figure.set_dpi(DPI)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # placed once; `savefig` would draw every file twice
        with replacing(png) as temporary:
            FigureCanvasAgg(figure).print_png(str(temporary), metadata={"Software": None})
        with replacing(svg) as temporary:
            FigureCanvasSVG(figure).print_svg(str(temporary), metadata={"Date": None, "Creator": None})
    return [png, svg]


def draw_line(axes: Axes, x: np.ndarray, y: np.ndarray, style: LineStyle, label: str, markers: bool = True) -> None:
    """One line in its style, with few markers so that they do not hide it."""
    options: dict[str, Any] = {"color": style.colour, "linewidth": style.width, "label": label}
    if style.dashes:
        options["linestyle"] = (0, style.dashes)
    if markers and not style.dashes:
        every = max(1, len(x) // MARKERS)
        options |= {"marker": style.marker, "markersize": 5, "fillstyle": style.fill, "markevery": (every // 2, every)}
    axes.plot(x, y, **options)


def log_scale(axes: Axes, which: str) -> None:
    """A logarithmic axis ("x" or "y") whose ticks read as plain numbers, also where it spans less than a decade."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    options: dict[str, Any] = {f"{which}scale": "log"}
    axes.set(**options)
    low, high = axis.get_view_interval()
    decades = np.log10(high / low) if low > 0 else np.inf
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 0.9 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def close(figure: Figure, axes: np.ndarray, note: str, legend: bool) -> None:
    """End a figure with its note, and above it one legend of all panels, each label once."""
    text = _broken(note, figure, NOTE_LETTERS_PER_INCH)
    handles: dict[str, Any] = {}
    for panel in axes.flat if legend else ():
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        figure.supxlabel(text, fontsize=8, color=_SOFT)
        return
    widest = 0.6 + 0.075 * max(map(len, handles))
    columns = min(len(handles), max(1, int(figure.get_figwidth() / widest)))
    found = figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=columns,
        handlelength=3.2,
        title=text,
        title_fontsize=8,
    )
    found.get_title().set_color(_SOFT)
