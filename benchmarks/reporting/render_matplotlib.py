"""Plots as files for papers: .png and .svg."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.reporting.canvas import (
    PANEL,
    close,
    draw_line,
    log_scale,
    new_figure,
    save,
    styled,
)
from benchmarks.reporting.plots import BANDS, ForestLine, Line, Panel, Plot, limits
from benchmarks.running.parallel import mapped
from fewshot.console import progress

FOREST_LINES = 40
"""Differences in one figure at most."""
LETTERS = 28
"""As many as fit along the height of a panel."""
_INK = "#222222"


def write_figures(plots: Sequence[Plot], out: Path, title: str = "") -> list[Path]:
    """Write every plot as .png and .svg.

    Args:
        plots: what is drawn.
        out: the folder.
        title: a line above that of every figure; none where empty.

    Returns:
        The files, in the order written. Equal plots give equal bytes.
    """
    tasks = [
        _Task(replace(part, title=f"{title}\n{part.title}" if title else part.title), out) for part in _split(plots)
    ]
    paths: list[Path] = []
    with mapped(_write, tasks, least=4) as found, progress() as display:
        task = display.add_task("figures", total=len(tasks), note="")
        for written in found:
            paths += written
            display.advance(task)
    return paths


@dataclass(frozen=True)
class _Task:
    """What one process draws."""

    plot: Plot
    out: Path


def _write(task: _Task) -> list[Path]:
    return save(figure_of(task.plot), task.out / task.plot.name)


def _split(plots: Sequence[Plot]) -> Iterator[Plot]:
    """Long forests in parts."""
    for plot in plots:
        if plot.form != "forest" or len(plot.panels[0][0].forest) <= FOREST_LINES:
            yield plot
            continue
        panel = plot.panels[0][0]
        for part, start in enumerate(range(0, len(panel.forest), FOREST_LINES), 1):
            lines = panel.forest[start : start + FOREST_LINES]
            yield replace(plot, name=f"{plot.name}-{part}", panels=[[replace(panel, forest=lines)]])


def figure_of(plot: Plot) -> Figure:
    """A plot as a figure with one legend, panels as in Figures 3 to 6 and 8 of the paper."""
    draw = {"lines": _curves, "points": _points, "histograms": _ridges, "forest": _forest}[plot.form]
    with styled():
        figure, axes = new_figure(len(plot.panels), max(map(len, plot.panels)), plot.title, _size(plot))
        for row, panels in zip(axes, plot.panels, strict=True):
            for place, panel in zip(row, panels, strict=False):
                draw(place, panel)
                place.set_title(panel.title if axes.size > 1 else "")
            for place in row[len(panels) :]:
                place.set_axis_off()
        close(figure, axes, plot.note, legend=plot.form in ("lines", "points"))
    return figure


def _size(plot: Plot) -> tuple[float, float]:
    """Of a panel."""
    panel = plot.panels[0][0]
    if plot.form == "forest":
        return 9.0, 0.8 + 0.27 * len(_with_headings(panel.forest))
    alone = len(plot.panels) == len(plot.panels[0]) == 1
    return {
        "lines": (6.8, 3.6) if alone else PANEL,
        "points": (5.6, 3.4),
        "histograms": (6.8, 0.9 + 0.62 * len(panel.lines)),
    }[plot.form]


def _curves(axes: Axes, panel: Panel) -> None:
    """Lines and bands; the axis follows the lines."""
    bounds, floor = panel.range, panel.floor
    for line in panel.lines:
        draw_line(axes, line.x, line.y, line.style, line.legend)
        if line.low is not None and line.high is not None and len(panel.lines) <= BANDS:
            shown = line.low > floor
            axes.fill_between(
                line.x, line.low, line.high, where=shown, color=line.style.colour, alpha=0.15, linewidth=0
            )
        if line.ended:
            axes.plot(line.x[-1:], line.y[-1:], marker="x", markersize=7, color=line.style.colour, linestyle="none")
    if bounds:
        axes.set_ylim(*bounds)
    if panel.y.scale == "log":
        log_scale(axes, "y")
    first, last = min(float(line.x[0]) for line in panel.lines), max(float(line.x[-1]) for line in panel.lines)
    if panel.x.scale == "symlog":
        smallest = min(float(line.x[line.x > 0].min(initial=last)) for line in panel.lines)
        axes.set_xscale("symlog", linthresh=smallest, linscale=0.3)  # the axis begins where the data do
        axes.set_xlim(0, last)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    else:
        axes.set_xlim(first, last if last > first else first + 1)
    axes.set(xlabel=panel.x.title, ylabel=_folded(panel.y.title))


def _folded(title: str) -> str:
    """An axis's title in lines no longer than a panel is high."""
    if len(title) <= LETTERS:
        return title
    name, found, unit = title.partition(" (")
    return "\n".join(part for text in (name, f"({unit}" if found else "") for part in textwrap.wrap(text, LETTERS))


def _points(axes: Axes, panel: Panel) -> None:
    """A point a line, with bars over its ranges."""
    for line in panel.lines:
        axes.errorbar(
            line.x,
            line.y,
            xerr=_bars(line.x, line.x_low, line.x_high),
            yerr=_bars(line.y, line.low, line.high),
            color=line.style.colour,
            marker=line.style.marker,
            fillstyle=line.style.fill,
            markersize=7,
            linestyle="none",
            capsize=2,
            label=line.legend,
        )
    ranges = [ends for line in panel.lines for ends in (line.x, line.x_low, line.x_high) if ends is not None]
    bounds = limits(ranges, panel.x.scale == "log")
    if bounds:
        axes.set_xlim(*bounds)
    heights = [ends for line in panel.lines for ends in (line.y, line.low, line.high) if ends is not None]
    bounds = limits(heights, panel.y.scale == "log", panel.y.ends)
    if bounds:
        axes.set_ylim(*bounds)
    if panel.x.scale == "log":
        log_scale(axes, "x")
    axes.set(xlabel=panel.x.title, ylabel=panel.y.title)


def _bars(middle: np.ndarray, low: np.ndarray | None, high: np.ndarray | None) -> np.ndarray | None:
    if low is None or high is None or not np.isfinite([low, high]).all():
        return None
    return np.stack([middle - low, high - middle])


def _ridges(axes: Axes, panel: Panel) -> None:
    """One ridge a line, with quartiles (ticks) and the mean (marker)."""
    tallest = max(line.y.max() for line in panel.lines) or 1.0
    for base, line in enumerate(reversed(panel.lines)):
        height = base + 0.85 * line.y / tallest
        axes.stairs(height, line.x, baseline=base, fill=True, color=line.style.colour, alpha=0.3)
        axes.stairs(height, line.x, baseline=base, color=line.style.colour, linewidth=1)
        if line.quartiles is not None and line.mean is not None:
            axes.plot(line.quartiles, [base] * 3, marker="|", markersize=9, color="black", linestyle="-", linewidth=1)
            axes.plot(line.mean, base, marker=line.style.marker, color="black", fillstyle=line.style.fill)
    names = [f"{line.label}\n{line.legend.removeprefix(f'{line.label}, ')}" for line in reversed(panel.lines)]
    axes.set_yticks(range(len(names)), names)
    axes.set(xlim=_occupied(panel.lines), ylim=(-0.25, max(len(names), 1)))
    height = panel.y.title.removesuffix(" (%)")
    axes.set_xlabel(f"{panel.x.title}\nticks: quartiles, marker: mean, height: {height}")
    axes.tick_params(axis="y", length=0)


def _occupied(lines: Sequence[Line]) -> tuple[float, float]:
    """Where the histograms are not empty, with a margin."""
    used = [line.x[[*np.flatnonzero(line.y), np.flatnonzero(line.y)[-1] + 1]] for line in lines if line.y.any()]
    ends = np.concatenate(used) if used else np.array([0.0, 100.0])
    return max(0.0, float(ends.min()) - 4), min(100.0, float(ends.max()) + 4)


def _with_headings(lines: Sequence[ForestLine]) -> list[ForestLine | str]:
    found: list[ForestLine | str] = []
    for section, members in groupby(lines, key=lambda line: line.section):
        found += [section, *members]
    return found


def _forest(axes: Axes, panel: Panel) -> None:
    """A line a difference, beside the line of none; filled where the interval excludes that."""
    lines, reach = _with_headings(panel.forest), panel.reach
    axes.axvline(panel.neutral, color="black", linewidth=1)
    for place, line in enumerate(lines):
        if isinstance(line, ForestLine):
            if not np.isnan(line.low):
                ends = np.clip([line.low, line.high], *reach)
                axes.plot(ends, [place, place], color=_INK, linewidth=1.6, solid_capstyle="butt")
            face = _INK if line.decided else "white"
            axes.plot(line.mean, place, marker="s", markersize=6, color=_INK, markerfacecolor=face)
    axes.set_yticks(range(len(lines)), [line if isinstance(line, str) else f"{line.label}  " for line in lines])
    for tick, line in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if isinstance(line, str) else "normal")
    words = axes.twinx()
    words.set_yticks(range(len(lines)), ["" if isinstance(line, str) else line.words for line in lines])
    words.tick_params(axis="y", labelsize=8)
    words.grid(visible=False)
    for side in (axes, words):
        side.set_ylim(len(lines) - 0.4, -0.6)
        side.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(*reach)
    if panel.x.scale == "log":
        log_scale(axes, "x")
    axes.set_xlabel(panel.x.title)
