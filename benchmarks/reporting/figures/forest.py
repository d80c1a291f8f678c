"""Forest plot: paired differences with their intervals beside the line of no difference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.reporting.drawn import ForestLine
from benchmarks.reporting.figures.style import limits, new_figure, styled

_INK = "#222222"


def forest_figure(differences: Sequence[ForestLine], title: str, x_label: str) -> Figure:
    """A line a comparison; filled where the interval excludes zero.

    Args:
        differences: grouped by `group`, in drawing order.
        title: which data.
        x_label: what is compared, with its unit and which side is better.
    """
    lines: list[ForestLine | str] = []
    for group, members in groupby(differences, key=lambda d: d.group):
        lines += [group, *members]
    with styled():
        figure, axes = new_figure(1, 1, title, panel=(7.5, 0.8 + 0.27 * len(lines)))
        panel = axes[0, 0]
        panel.axvline(0, color="black", linewidth=1)
        for place, line in enumerate(lines):
            if isinstance(line, ForestLine):
                _draw(panel, place, line)
        panel.set_yticks(range(len(lines)), [x if isinstance(x, str) else f"{x.label}  " for x in lines])
        numbers = panel.twinx()
        numbers.set_ylim(len(lines) - 0.4, -0.6)
        numbers.set_yticks(range(len(lines)), ["" if isinstance(x, str) else _numbers(x) for x in lines])
        numbers.tick_params(axis="y", length=0, labelsize=8)
        numbers.grid(visible=False)
        for tick, line in zip(panel.get_yticklabels(), lines, strict=True):
            tick.set_fontweight("bold" if isinstance(line, str) else "normal")
        panel.set_ylim(len(lines) - 0.4, -0.6)
        panel.grid(axis="y", visible=False)
        panel.tick_params(axis="y", length=0)
        bounds = limits([np.array([d.low, d.mean, d.high, 0.0]) for d in differences], log=False)
        if bounds:
            panel.set_xlim(*bounds)
        panel.set_xlabel(f"{x_label}\nbars: 95 % interval, filled: excludes zero")
    return figure


def _draw(panel: Axes, place: int, line: ForestLine) -> None:
    if np.isfinite([line.low, line.high]).all():
        panel.plot([line.low, line.high], [place, place], color=_INK, linewidth=1.6, solid_capstyle="butt")
    panel.plot(
        line.mean, place, marker="s", markersize=6, color=_INK, markerfacecolor=_INK if line.decided else "white"
    )


def _numbers(line: ForestLine) -> str:
    p = "" if line.p is None or not np.isfinite(line.p) else f", p = {line.p:.2g}"
    return f"{line.mean:+.2f}  (n = {line.n} {line.unit}{p})"
