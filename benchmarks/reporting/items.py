"""Rows as figures and the page draw them: what they are called, and their numbers as plain arrays."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reporting.compare import Comparison
from benchmarks.reporting.drawn import Cost, ForestLine, Response, Series, Spread
from benchmarks.reporting.rows import Row
from benchmarks.reporting.series import Band, optimizee_curve, training_curve
from benchmarks.reporting.statistics import Interval
from benchmarks.reporting.style import LineStyle, line_style
from benchmarks.reporting.tables import to_frame

FEW_SHOT, GENERAL = "few_shot", "general"
LINES = 12
"""Rows in one figure at most."""


@dataclass(frozen=True, eq=False)
class Item:
    """A row, and how it is called."""

    row: Row
    settings: str = ""
    """What tells it apart from rows of the same labels."""
    best: bool = False
    """Its paired difference to every other row of its table excludes zero."""
    published: str = ""
    """The paper's value for it; empty where there is none."""

    @property
    def track(self) -> str:
        return self.row.track

    @property
    def dataset(self) -> str:
        return str(self.row.labels["dataset"])

    @property
    def method(self) -> str:
        return str(self.row.labels["method" if self.track == FEW_SHOT else "optimizer"])

    @property
    def regularizer(self) -> str:
        return str(self.row.labels["regularizer"])

    @property
    def learned(self) -> bool:
        return not self.row.hand_designed

    @property
    def style(self) -> LineStyle:
        return line_style(self.method, self.regularizer, self.learned)

    @property
    def experiment(self) -> str:
        """What its group is about, such as "glyphs, 5-way 1-shot"."""
        labels, config = self.row.labels, self.row.config
        if self.track == FEW_SHOT:
            return f"{self.dataset}, {labels['way']}-way {labels['shot']}-shot"
        return f"{labels['task']}, {config['test']['steps']:,} steps"

    @property
    def label(self) -> str:
        """As in a legend."""
        name = self.method if self.regularizer == "none" else f"{self.method} + {self.regularizer}"
        source = self.row.labels.get("source")
        notes = [f"from {source}"] * bool(source) + [self.settings] * bool(self.settings)
        return f"{name} ({', '.join(notes)})" if notes else name

    @cached_property
    def finished(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(record for record in self.row.records if record["status"] == "finished")

    @property
    def clock(self) -> str:
        """What meta-training counts."""
        return "episode" if self.track == FEW_SHOT else "unroll"

    def tested(self, metric: str) -> Series | None:
        """A test curve of a general-track item; see `optimizee_curve`."""
        found = optimizee_curve(self.finished, metric) if self.track == GENERAL and self.finished else None
        return self._series(*found) if found else None

    def trained(self, name: str, source: str = "curve") -> Series | None:
        """A curve of meta-training; see `training_curve`."""
        found = training_curve(self.finished, name, source)
        return self._series(found, "seeds") if found else None

    def _series(self, found: Band, unit: str, ended: str = "") -> Series:
        numbers = (found.x, found.mean, found.low, found.high, found.n)
        return Series(self.label, self.method, self.regularizer, *numbers, unit, self.learned, ended)

    @cached_property
    def episodes(self) -> Spread | None:
        """Accuracy of every test episode in %, averaged over seeds."""
        if self.track != FEW_SHOT or not self.row.values or self.row.unpaired(self.row):
            return None
        values = np.mean(list(self.row.values.values()), axis=0)
        return Spread(self.label, self.method, self.regularizer, values)

    @cached_property
    def response(self) -> Response | None:
        """Outputs around zero of the first seed's optimizer."""
        for record in self.finished:
            found = record.get("smoothness")
            if found:
                state, update = np.asarray(found["state"], float), np.asarray(found["update"], float)
                return Response(self.label, self.method, self.regularizer, state, update, found.get("lipschitz"))
        return None

    @cached_property
    def result(self) -> Interval | None:
        """See `Row.interval`."""
        return self.row.interval()

    @cached_property
    def cost(self) -> Cost | None:
        """Result and seconds of meta-training."""
        seconds = [record.get("measured", {}).get("train_seconds") for record in self.finished]
        seconds = np.array([s for s in seconds if s], dtype=np.float64)
        if not len(seconds) or self.result is None:
            return None
        result = self.result
        return Cost(self.label, self.method, self.regularizer, seconds, result.mean, result.half_width, self.learned)


@dataclass(frozen=True)
class Experiment:
    """Items that were tested on the same thing, and may be drawn together."""

    title: str
    slug: str
    """For file names and links."""
    track: str
    dataset: str
    items: tuple[Item, ...]

    def drawn(self) -> tuple[Item, ...]:
        """No more items than a figure can hold: first the best of each method and regularizer, then others."""
        if len(self.items) <= LINES:
            return self.items
        sign = -1 if self.higher_is_better else 1
        ranked = sorted(self.items, key=lambda item: sign * item.result.mean if item.result else np.inf)
        first: dict[tuple[str, str], Item] = {}
        for item in ranked:
            first.setdefault((item.method, item.regularizer), item)
        chosen = [*first.values(), *(item for item in ranked if item not in first.values())][:LINES]
        return tuple(item for item in self.items if any(item is c for c in chosen))

    @property
    def higher_is_better(self) -> bool:
        return self.items[0].row.higher_is_better

    @property
    def result(self) -> str:
        """What the result of an item is, with its unit."""
        if self.track == FEW_SHOT:
            return "test accuracy (%)"
        return "final test accuracy (%)" if self.higher_is_better else "final test loss"

    @property
    def heading(self) -> str:
        """The title, and how many items of all are drawn."""
        drawn = len(self.drawn())
        return self.title if drawn == len(self.items) else f"{self.title} ({drawn} of {len(self.items)} rows)"


def experiments(items: Sequence[Item]) -> list[Experiment]:
    """Items by what they were tested on, in the order of first appearance."""
    groups: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        groups.setdefault((item.track, *item.row.tested_on), []).append(item)
    titles = [members[0].experiment for members in groups.values()]
    return [_experiment(members, titles.count(members[0].experiment) > 1) for members in groups.values()]


def _experiment(members: Sequence[Item], ambiguous: bool) -> Experiment:
    first = members[0]
    mark = hashlib.sha256("".join(first.row.tested_on).encode()).hexdigest()[:6]
    title = f"{first.experiment} [test {mark}]" if ambiguous else first.experiment
    slug = re.sub(r"[^a-z0-9]+", "-", first.experiment.lower()).strip("-")[:60] or "experiment"
    return Experiment(title, f"{slug}-{mark}" if ambiguous else slug, first.track, first.dataset, tuple(members))


def items_of(rows: Sequence[Row], frame: pd.DataFrame | None = None) -> list[Item]:
    """The rows of `rows.load`, with what the tables say about each.

    Args:
        rows: of `rows.load`, or some of them.
        frame: the lines of these rows in `tables.to_frame`, in their order; made of these rows alone where None.
    """
    if not rows:
        return []
    frame = to_frame(rows) if frame is None else frame
    columns = (frame[name] for name in ("settings", "best", "paper", "paper_spread"))
    return [
        Item(row, settings, bool(best), f"{paper:.2f} ± {spread:.2f}" if np.isfinite(paper) else "")
        for row, settings, best, paper, spread in zip(rows, *columns, strict=True)
    ]


def forest_lines(comparisons: Sequence[Comparison], groups: Sequence[Experiment]) -> dict[str, list[ForestLine]]:
    """Comparisons by their metric ("accuracy", "loss"), as lines of a forest plot, in the order of `groups`."""
    named = {id(item.row): (item, group) for group in groups for item in group.items}
    order = {key: place for place, key in enumerate(named)}
    found: dict[str, list[ForestLine]] = {}
    known = [c for c in comparisons if id(c.row) in named and id(c.other) in named]
    for c in sorted(known, key=lambda c: order[id(c.row)]):
        (item, group), (other, _) = named[id(c.row)], named[id(c.other)]
        d = c.difference
        low, high = d.mean - d.half_width, d.mean + d.half_width
        line = ForestLine(f"{item.label} − {other.label}", group.title, d.mean, low, high, d.n, d.unit, c.holm)
        found.setdefault(c.row.metric, []).append(line)
    return found
