"""Verdicts and lines of the page's tables, ready to be laid out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.reporting.figures.forest import Difference
from benchmarks.reporting.items import FEW_SHOT, Experiment, Item


@dataclass(frozen=True)
class Verdict:
    """What the records say about one claim of the paper."""

    NAMES: ClassVar[tuple[str, ...]] = ("supported", "contradicted", "not decided")

    text: str
    verdict: str
    """One of `NAMES`."""
    mean: float
    low: float
    high: float
    """NaN where nothing was run."""
    unit: str
    """Of the difference: points, nats."""
    n: str
    """What the interval is over."""
    power: str
    """What would decide it; empty where it is decided."""

    @property
    def known(self) -> bool:
        return math.isfinite(self.mean)

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Scale:
    """A symmetric axis for intervals, in percent of its width."""

    reach: float
    """Value at the right end; the left end is its negative."""

    @staticmethod
    def of(verdicts: Sequence[Verdict]) -> dict[str, Scale]:
        """One a unit, wide enough for three quarters of the intervals: one of two seeds must not flatten the others."""
        scales = {}
        for unit in {v.unit for v in verdicts if v.known}:
            ends = sorted(max(map(abs, (v.mean, *_finite(v.low, v.high)))) for v in verdicts if v.unit == unit and v.known)
            scales[unit] = Scale(1.15 * (ends[math.ceil(0.75 * len(ends)) - 1] or 1.0))
        return scales

    def place(self, value: float) -> float:
        """Where a value stands, clipped to the axis."""
        return round(min(100.0, max(0.0, 50 + 50 * value / self.reach)), 2)


def _finite(*values: float) -> list[float]:
    return [value for value in values if math.isfinite(value)]


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    number: int
    """Position of its provenance."""
    item: Item
    difference: Difference | None
    published: str
    low: float
    high: float
    """Ends of the interval bar in % of the table's scale; NaN without an interval."""
    at: float

    @property
    def failed(self) -> int:
        return len(self.item.records) - len(self.item.finished)

    @property
    def cause(self) -> str:
        return next((record["failure"] for record in self.item.records if record["failure"]), "")

    @property
    def over(self) -> str:
        """What the interval is over."""
        seeds = len(self.item.finished)
        if not self.item.result or not seeds:
            return ""
        each = "episodes" if self.item.track == FEW_SHOT else "initializations"
        test = self.item.finished[0]["test"]["best"]
        tests = len(test["correct"] if self.item.track == FEW_SHOT else test["runs"])
        return f"{tests:,} {each}" + (f" × {seeds} seeds" if seeds > 1 else "")


@dataclass(frozen=True)
class Table:
    """The rows of one experiment."""

    title: str
    slug: str
    dataset: str
    result: str
    """Heading of the results column."""
    lines: tuple[Line, ...]

    @property
    def published(self) -> bool:
        return any(line.published for line in self.lines)


def lines_of(groups: Sequence[Experiment], differences: Sequence[Difference]) -> list[Table]:
    """A table an experiment; rows are numbered through in the order of their provenance."""
    by_item = {difference.item: difference for difference in differences if difference.item is not None}
    tables, number = [], 0
    for group in groups:
        ends = [e for item in group.items if item.result for e in _ends(item)]
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
        lines = []
        for item in group.items:
            places = [_share(value, low, high) for value in _ends(item)] if item.result else [math.nan] * 3
            lines.append(Line(number, item, by_item.get(id(item)), item.published, places[0], places[2], places[1]))
            number += 1
        few_shot = group.track == FEW_SHOT
        result = "test accuracy (%)" if few_shot else "final test accuracy (%)"
        tables.append(Table(group.title, group.slug, group.dataset, result, tuple(lines)))
    return tables


def _ends(item: Item) -> tuple[float, float, float]:
    assert item.result is not None
    half = item.result.half_width if math.isfinite(item.result.half_width) else 0.0
    return item.result.mean - half, item.result.mean, item.result.mean + half


def _share(value: float, low: float, high: float) -> float:
    return round(4 + 92 * (value - low) / ((high - low) or 1.0), 2)
