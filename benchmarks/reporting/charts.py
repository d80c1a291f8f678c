"""Plots as the page's interactive charts: plain data of few enough points and few enough digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from benchmarks.reporting.kinds import KINDS
from benchmarks.reporting.plots import BANDS, Axis, ForestLine, Line, Panel, Plot

POINTS = 400
"""Of a line at most."""
Chart = dict[str, Any]
"""id, form, title, note, dataset, and panels: each with a name, its axes and its lines, as `report.js` draws them."""


def charts_of(plots: Sequence[Plot]) -> list[Chart]:
    """Everything interactive on the page, in reading order: kind by kind."""
    return [_chart(plot) for plot in sorted(plots, key=lambda plot: KINDS.index(plot.kind))]


def _chart(plot: Plot) -> Chart:
    columns = range(max(map(len, plot.panels)))
    panels = [row[column] for column in columns for row in plot.panels if column < len(row)]
    return {
        "id": plot.name,
        "form": plot.form,
        "title": plot.title,
        "note": plot.note,
        "dataset": plot.dataset,
        "bands": BANDS,
        "panels": [_forest(panel) if panel.forest else _panel(panel, plot.form) for panel in panels],
    }


def _panel(panel: Panel, form: str) -> dict[str, Any]:
    lines = [_line(line, form) for line in panel.lines]
    return {"name": panel.title, "x": _axis(panel.x), "y": _axis(panel.y), "lines": lines}


def _axis(axis: Axis) -> dict[str, Any]:
    return {"title": axis.title, "log": axis.scale != "linear", "ends": axis.ends}


def _line(line: Line, form: str) -> dict[str, Any]:
    style = line.style
    look = {"light": style.colour, "dark": style.dark_colour, "dash": style.dash, "symbol": style.symbol}
    found = {
        "key": line.label,
        "label": line.label,
        "method": line.method,
        "regularizer": line.regularizer,
        "style": {**look, "width": style.width, "markers": not style.dashes},
        "legend": line.legend,
        "ended": line.ended,
    }
    every = -(-len(line.y) // POINTS)
    for name in ("x", "y", "low", "high", "x_low", "x_high"):
        values = getattr(line, name)
        found |= {} if values is None else {name: digits(values[::every])}
    if form == "histograms":
        found |= {"steps": True, "y": [*found["y"], 0.0]}
    return found | ({"points": True} if form == "points" else {})


def _forest(panel: Panel) -> dict[str, Any]:
    lines, ticks = [], []
    for section, found in groupby(panel.forest, key=lambda line: line.section):
        members: list[ForestLine] = list(found)
        names = [f"{section}: {line.label}" for line in members]
        ticks += names
        lines.append(
            {
                "label": section,
                "y": names,
                "x": digits([line.mean for line in members]),
                "low": digits([max(line.low, panel.reach[0]) for line in members]),
                "high": digits([min(line.high, panel.reach[1]) for line in members]),
                "filled": [line.decided for line in members],
                "text": [line.words for line in members],
            }
        )
    axes = {"x": _axis(panel.x) | {"neutral": panel.neutral, "reach": digits(panel.reach)}, "y": {"ticks": ticks[::-1]}}
    return {"name": panel.title, **axes, "lines": lines}


def digits(values: Any, significant: int = 5) -> list[float | None]:
    """Numbers with as many digits as a screen can show; None where not finite, as JSON has no NaN."""
    return [float(f"{value:.{significant}g}") if math.isfinite(value) else None for value in map(float, values)]
