"""The page's interactive charts as plain data: few enough points, few enough digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.reporting.drawn import ForestLine, Series
from benchmarks.reporting.figures.curves import METRICS, legend_label
from benchmarks.reporting.figures.distributions import histogram
from benchmarks.reporting.figures.write import DIFFERENCES, curves_of
from benchmarks.reporting.items import FEW_SHOT, GENERAL, Experiment, Item
from benchmarks.reporting.series import LONG
from benchmarks.reporting.style import line_style

Chart = dict[str, Any]
"""id, kind, title, note, dataset, and panels: each with a name, its axes and its lines, as `report.js` draws them."""


def charts_of(groups: Sequence[Experiment], differences: Mapping[str, Sequence[ForestLine]]) -> list[Chart]:
    """Everything interactive on the page, in reading order."""
    found = [_forest(metric, lines) for metric, lines in differences.items()]
    kinds = (_learning, _training, _episodes, _smoothness, _cost)
    by_group = [[make(group) for make in kinds] for group in groups]  # the records of a group are read once
    return found + [chart for charts in zip(*by_group, strict=True) for chart in charts if chart is not None]


def _chart(kind: str, group: Experiment, title: str, note: str, panels: Sequence[dict[str, Any]]) -> Chart | None:
    panels = [panel for panel in panels if panel["lines"]]
    if not panels:
        return None
    return {
        "id": f"{kind}-{group.slug}",
        "kind": kind,
        "title": f"{title}: {group.heading}",
        "note": note,
        "dataset": group.dataset,
        "panels": panels,
    }


def _forest(metric: str, differences: Sequence[ForestLine]) -> Chart:
    lines, ticks = [], []
    for group, members in groupby(differences, key=lambda d: d.group):
        members = list(members)
        names = [f"{group}: {d.label}" for d in members]
        ticks += names
        ends = {"x": [d.mean for d in members], "low": [d.low for d in members], "high": [d.high for d in members]}
        lines.append(
            {
                "label": group,
                "y": names,
                **{name: digits(values) for name, values in ends.items()},
                "filled": [d.decided for d in members],
                "text": [_in_words(d) for d in members],
            }
        )
    panel = {"name": metric, "lines": lines, "x": {"title": DIFFERENCES[metric]}, "y": {"ticks": ticks[::-1]}}
    return {
        "id": f"differences-{metric}",
        "kind": "forest",
        "title": "Regularized − plain, paired on the same tests",
        "note": "Bars: 95 % interval, filled: it excludes zero. p is Holm-corrected within a table.",
        "dataset": "",
        "panels": [panel],
    }


def _in_words(d: ForestLine) -> str:
    p = f", p = {d.p:.2g}" if d.p is not None and math.isfinite(d.p) else ""
    return f"{d.mean:+.3g} [{d.low:+.3g}, {d.high:+.3g}], n = {d.n} {d.unit}{p}"


def _learning(group: Experiment) -> Chart | None:
    if group.track != GENERAL:
        return None
    names = {
        "test loss": "test_loss",
        "training loss": "train_loss",
        "test accuracy": "test_accuracy",
        "training accuracy": "train_accuracy",
    }
    panels = [
        _curves(group, name, metric, "optimizer step", lambda item, m=metric: item.tested(m))
        for name, metric in names.items()
    ]
    note = "Dashed: hand-designed. A line ends (×) where the first of its runs diverged."
    return _chart("curves", group, "Learning curves", note, panels)


def _training(group: Experiment) -> Chart | None:
    clock = f"meta-training {group.items[0].clock}"
    few_shot = group.track == FEW_SHOT
    wanted = [
        ("accuracy", "accuracy", "accuracy", "curve"),
        ("loss", "loss" if few_shot else "meta_loss", "loss", "curve"),
        ("validation", "accuracy" if few_shot else "loss", "accuracy" if few_shot else "loss", "validation"),
        ("step size", "step_size", "step_size", "curve"),
        ("weight kept", "keep", "keep", "curve"),
    ]
    panels = [
        _curves(group, name, metric, clock, lambda item, n=column, s=source: item.trained(n, s))
        for name, metric, column, source in wanted
    ]
    return _chart("training", group, "Meta-training", "Neighbouring steps are averaged.", panels)


def _curves(group: Experiment, name: str, metric: str, x: str, make: Callable[[Item], Series | None]) -> dict[str, Any]:
    lines, axis = curves_of(group, make), METRICS[metric]
    positive = all((line.mean > 0).all() for line in lines)
    longest = max((line.x[-1] for line in lines), default=0.0)
    return {
        "name": name,
        "x": {"title": x, "log": bool(longest >= LONG and x == "optimizer step")},
        "y": {"title": axis.label, "log": axis.log and positive},
        "lines": [_line(line, axis.scale) for line in lines],
    }


def _line(line: Series, scale: float) -> dict[str, Any]:
    found = _identity(line.method, line.regularizer, line.learned, line.label) | {
        "legend": legend_label(line),
        "x": digits(line.x),
        "y": digits(scale * line.mean),
        "ended": bool(line.ended),
    }
    if line.n > 1:
        found |= {"low": digits(scale * line.low), "high": digits(scale * line.high)}
    return found


def _identity(method: str, regularizer: str, learned: bool, label: str) -> dict[str, Any]:
    style = line_style(method, regularizer, learned)
    look = {"light": style.colour, "dark": style.dark_colour, "dash": style.dash, "symbol": style.symbol}
    return {
        "key": label,
        "label": label,
        "method": method,
        "regularizer": regularizer,
        "style": {**look, "width": style.width, "markers": learned},
    }


def _episodes(group: Experiment) -> Chart | None:
    lines = []
    for item in group.drawn():
        spread = item.episodes
        if spread is not None:
            edges, share = histogram(spread.values)
            legend = f"{spread.label}, {len(spread.values)} episodes, mean {spread.values.mean():.2f} %"
            line = _identity(item.method, item.regularizer, True, item.label)
            lines.append({**line, "legend": legend, "x": digits(edges), "y": [*digits(share), 0.0], "steps": True})
    panel = {
        "name": "episodes",
        "x": {"title": "accuracy of a test episode (%)", "log": False},
        "y": {"title": "share of episodes (%)", "log": False},
        "lines": lines,
    }
    return _chart("episodes", group, "Test episodes", "With several seeds, each episode's mean over them.", [panel])


def _smoothness(group: Experiment) -> Chart | None:
    lines = []
    for item in group.drawn():
        response = item.response
        if response is not None:
            order = np.argsort(response.state, kind="stable")[:: max(1, len(response.state) // 400)]
            number = "" if response.lipschitz is None else f", Lipschitz number {response.lipschitz:.3g}"
            line = _identity(item.method, item.regularizer, True, item.label) | {"legend": response.label + number}
            lines.append({**line, "x": digits(response.state[order]), "y": digits(response.update[order])})
    panel = {
        "name": "sorted states",
        "x": {"title": "state (preprocessed gradient)", "log": False},
        "y": {"title": "update (step of one weight)", "log": False},
        "lines": lines,
    }
    note = "Outputs for states drawn around zero (Figure 7 of the paper); steep is not smooth."
    return _chart("smoothness", group, "Updates around zero", note, [panel])


def _cost(group: Experiment) -> Chart | None:
    lines = []
    for item in group.drawn():
        cost = item.cost
        if cost is not None:
            line = _identity(item.method, item.regularizer, item.learned, item.label)
            spread = {"low": digits([cost.result - cost.half_width]), "high": digits([cost.result + cost.half_width])}
            position = {"x": digits([np.median(cost.seconds)]), "y": digits([cost.result])}
            lines.append({**line, "legend": cost.label, "points": True, **position, **spread})
    panel = {
        "name": "cost",
        "x": {"title": "meta-training per seed (s, median)", "log": True},
        "y": {"title": group.result, "log": False},
        "lines": lines,
    }
    return _chart("cost", group, "Time per result", "Up and to the left is better. Bars: 95 % interval.", [panel])


def digits(values: Any, significant: int = 5) -> list[float | None]:
    """Numbers with as many digits as a screen can show; None where not finite, as JSON has no NaN."""
    return [float(f"{value:.{significant}g}") if math.isfinite(value) else None for value in map(float, values)]
