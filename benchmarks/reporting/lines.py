"""Lines of the page's tables, ready to be laid out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.reporting.compare import Comparison
from benchmarks.reporting.items import Experiment, Item


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    number: int
    """Position of its provenance."""
    item: Item
    comparison: Comparison | None
    """With its plain partner."""
    bar: tuple[float, float, float] | None
    """Lower end, mean and upper end of the interval in % of the table's axis; None without a result."""

    @property
    def cause(self) -> str:
        """Why runs failed; empty if none did."""
        return "; ".join(dict.fromkeys(r["failure"] for r in self.item.row.records if r["failure"]))

    @property
    def over(self) -> str:
        """What the interval is over, and what it leaves out."""
        row = self.item.row
        if self.item.result is None:
            return ""
        problems, seeds = len(next(iter(row.values.values()))), len(row.values)
        return f"{problems:,} {row.problem}" + (f" × {seeds} seeds" if seeds > 1 else "")

    @property
    def lost(self) -> str:
        """Failed and diverged runs."""
        row = self.item.row
        parts = [f"{row.failed} failed"] * bool(row.failed) + [f"{row.diverged} diverged"] * bool(row.diverged)
        return ", ".join(parts)


@dataclass(frozen=True)
class Table:
    """The rows of one experiment."""

    group: Experiment
    lines: tuple[Line, ...]
    low: float
    """Left end of the axis of the interval bars."""
    high: float

    @property
    def published(self) -> bool:
        """Whether the paper has a value for any row."""
        return any(line.item.published for line in self.lines)

    @property
    def unit(self) -> str:
        """Of differences."""
        return "points" if self.group.higher_is_better else "loss"


def tables_of(groups: Sequence[Experiment], comparisons: Sequence[Comparison]) -> list[Table]:
    """A table an experiment; rows are numbered through in the order of their provenance."""
    by_row = {id(c.row): c for c in comparisons}
    tables, number = [], 0
    for group in groups:
        ends = [end for item in group.items for end in _ends(item)]
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
        lines = []
        for item in group.items:
            bar = tuple(round(4 + 92 * (end - low) / ((high - low) or 1.0), 2) for end in _ends(item))
            lines.append(Line(number, item, by_row.get(id(item.row)), (bar[0], bar[1], bar[2]) if bar else None))
            number += 1
        tables.append(Table(group, tuple(lines), low, high))
    return tables


def _ends(item: Item) -> tuple[float, ...]:
    """Lower end, mean and upper end of its interval."""
    if item.result is None:
        return ()
    half = item.result.half_width if math.isfinite(item.result.half_width) else 0.0
    return item.result.mean - half, item.result.mean, item.result.mean + half
