"""Verdicts on the paper's claims, ready to be laid out: a card a claim, a line a pair of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.reporting.claims import CLAIMS, CONTRADICTED, NOT_DECIDED, SUPPORTED, Verdict
from benchmarks.reporting.compare import Comparison
from benchmarks.reporting.items import Experiment, Item
from benchmarks.reporting.rows import Row

VERDICTS = (SUPPORTED, CONTRADICTED, NOT_DECIDED)


@dataclass(frozen=True)
class Pair:
    """What two rows say about a claim."""

    experiment: str
    first: str
    second: str
    verdict: str
    """One of `VERDICTS`."""
    row: Row
    comparison: Comparison | None
    """None where no test problem has a value of both."""

    @property
    def ends(self) -> tuple[float, float]:
        """Of the interval; NaN where a single unit gives none."""
        if self.comparison is None:
            return math.nan, math.nan
        d = self.comparison.difference
        return d.mean - d.half_width, d.mean + d.half_width

    @property
    def unit(self) -> str:
        """Of the difference."""
        return "points" if self.row.metric == "accuracy" else "of loss"

    @property
    def power(self) -> str:
        """What would decide it; empty where it is decided."""
        if self.comparison is None or self.comparison.decided:
            return ""
        more, units = self.comparison.more, self.comparison.difference.unit
        if more is None:
            return "What would decide it cannot be told from these."
        return f"If this were the true difference, {more:,} more {units} would show it at 80 % power."


@dataclass(frozen=True)
class Card:
    """One claim."""

    text: str
    pairs: tuple[Pair, ...]

    @property
    def tally(self) -> dict[str, int]:
        """How many pairs say what; only what any says."""
        return tally(self.pairs)

    @property
    def tone(self) -> str:
        """The verdict, if all pairs agree; else "mixed"."""
        return next(iter(self.tally)) if len(self.tally) == 1 else "mixed"


@dataclass(frozen=True)
class Scale:
    """A symmetric axis for differences, in percent of its width."""

    reach: float
    """Value at the right end; the left end is its negative."""

    def place(self, value: float) -> float:
        """Where a value stands, clipped to the axis."""
        return round(min(100.0, max(0.0, 50 + 50 * value / self.reach)), 2)


def tally(pairs: Sequence[Pair]) -> dict[str, int]:
    """Number of pairs by verdict, in the order of `VERDICTS`; those that nobody gives are left out."""
    counts = {name: sum(pair.verdict == name for pair in pairs) for name in VERDICTS}
    return {name: count for name, count in counts.items() if count}


def cards_of(verdicts: Sequence[Verdict], groups: Sequence[Experiment]) -> list[Card]:
    """A card a claim, in the order of `verdicts`."""
    known = {id(item.row): (item, group.title) for group in groups for item in group.items}

    def pair(verdict: Verdict) -> Pair:
        item, title = known.get(id(verdict.row)) or (Item(verdict.row), Item(verdict.row).experiment)
        other, _ = known.get(id(verdict.other)) or (Item(verdict.other), "")
        return Pair(title, item.label, other.label, verdict.verdict, verdict.row, verdict.comparison)

    return [
        Card(text, tuple(pair(verdict) for verdict in members))
        for text, members in groupby(verdicts, key=lambda verdict: verdict.claim.text)
    ]


def not_judged(cards: Sequence[Card]) -> list[str]:
    """The paper's claims that no pair of rows speaks to."""
    judged = {card.text for card in cards}
    return [claim.text for claim in CLAIMS if claim.text not in judged]


def scales_of(cards: Sequence[Card]) -> dict[str, Scale]:
    """One a unit, wide enough for most intervals: one of two seeds must not flatten all others."""
    reaches: dict[str, list[float]] = {}
    for pair in (pair for card in cards for pair in card.pairs):
        if pair.comparison is not None:
            ends = [abs(value) for value in (pair.comparison.difference.mean, *pair.ends) if math.isfinite(value)]
            reaches.setdefault(pair.unit, []).append(max(ends))
    return {unit: Scale(1.15 * (_quantile(ends, 0.8) or 1.0)) for unit, ends in reaches.items()}


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]
