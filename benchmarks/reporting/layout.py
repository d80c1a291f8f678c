"""Tables and verdicts of the page, ready to be laid out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby

from benchmarks.reporting import wording
from benchmarks.reporting.claims import CLAIMS, Judgement
from benchmarks.reporting.compare import Comparison
from benchmarks.reporting.crossed.decisions import Verdict
from benchmarks.reporting.crossed.speedup import SpeedUp
from benchmarks.reporting.groups import Group
from benchmarks.reporting.published import published
from benchmarks.reporting.rows import Row


@dataclass(frozen=True, eq=False)
class Line:
    """One row of a table."""

    number: int
    """Position of its provenance."""
    row: Row
    comparison: Comparison | None
    """With its plain partner."""
    best: bool
    """Its paired difference to every other row of its table excludes zero."""
    bar: tuple[float, float, float] | None
    """Lower end, mean and upper end of the interval in % of the table's axis; None without a result."""
    ratio: SpeedUp | None = None
    """Over Adam at its best; None where nothing is known."""

    @property
    def speed_up(self) -> str:
        """That, in words; empty without one."""
        return wording.speed_up(self.ratio.ratio, *self.ratio.interval(), self.ratio.bound) if self.ratio else ""

    @property
    def paper(self) -> str:
        """What the paper printed; empty where it has nothing."""
        found = published(self.row)
        return wording.interval(found.mean, found.spread, "accuracy") if found else ""

    @property
    def cause(self) -> str:
        """Why runs failed; empty if none did."""
        causes = [record.facts.failure for record in self.row.records.values()]
        return "; ".join(dict.fromkeys(filter(None, causes)))

    @property
    def over(self) -> str:
        """What the result is of; empty without one."""
        return "" if self.row.analysis is None else wording.sample(self.row.analysis, self.row.problem)

    @property
    def worst(self) -> str:
        """The result with runs without a value at the worst; empty where none is missing."""
        found = self.row.worst
        return wording.interval(found.mean, found.half_width(), self.row.metric) if found else ""

    @property
    def remarks(self) -> str:
        """See `wording.remarks`."""
        return wording.remarks(self.row, self.comparison)

    @property
    def selection(self) -> str:
        """See `wording.selection`."""
        return wording.selection(self.row)

    @property
    def lost(self) -> str:
        """Failed and diverged runs."""
        return wording.lost(self.row.failed, self.row.diverged)


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of one group."""

    group: Group
    lines: tuple[Line, ...]
    low: float
    """Left end of the axis of the interval bars."""
    high: float

    @property
    def metric(self) -> str:
        return self.group.rows[0].metric

    @property
    def result(self) -> str:
        """What the result of a row is, with its unit."""
        return wording.result_name(self.group.rows[0])

    @property
    def published(self) -> bool:
        """Whether the paper has a value for any row."""
        return any(line.paper for line in self.lines)

    @property
    def rated(self) -> bool:
        """Whether any row has a speed-up."""
        return any(line.ratio for line in self.lines)


def tables_of(
    groups: Sequence[Group],
    comparisons: Sequence[Comparison],
    ratios: Mapping[tuple[str, ...], SpeedUp],
    best: Set[tuple[str, ...]],
) -> list[Table]:
    """A table a group; rows are numbered through in the order of their provenance."""
    by_row = {c.row.key: c for c in comparisons}
    tables, number = [], 0
    for group in groups:
        ends = [end for row in group.rows for end in _ends(row)]
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
        lines = []
        for row in group.rows:
            bar = tuple(round(4 + 92 * (end - low) / ((high - low) or 1.0), 2) for end in _ends(row))
            placed = (bar[0], bar[1], bar[2]) if bar else None
            lines.append(Line(number, row, by_row.get(row.key), row.key in best, placed, ratios.get(row.key)))
            number += 1
        tables.append(Table(group, tuple(lines), low, high))
    return tables


def _ends(row: Row) -> tuple[float, ...]:
    """Lower end, mean and upper end of its interval; no accuracy is beyond 0 and 100 %."""
    if row.analysis is None:
        return ()
    half = row.analysis.half_width()
    half = half if math.isfinite(half) else 0.0
    low, high = row.analysis.mean - half, row.analysis.mean + half
    return (
        (max(low, 0.0), row.analysis.mean, min(high, 100.0)) if row.higher_is_better else (low, row.analysis.mean, high)
    )


@dataclass(frozen=True, eq=False)
class Card:
    """One claim."""

    text: str
    judgements: tuple[Judgement, ...]
    """Decided ones first, then those that say how small an effect is."""

    @property
    def tally(self) -> dict[Verdict, int]:
        """How many pairs of rows say what; only what any says."""
        return tally(self.judgements)

    @property
    def tone(self) -> str:
        """The verdict, if all pairs agree; else "mixed"."""
        return next(iter(self.tally)).name.lower() if len(self.tally) == 1 else "mixed"

    @property
    def shown(self) -> int:
        """How many stand on the card at once: all that are decided, and three at least."""
        return max(3, sum(bool(j.comparison and j.comparison.decided) for j in self.judgements))


@dataclass(frozen=True)
class Scale:
    """A symmetric axis for differences, in percent of its width."""

    reach: float
    """Value at the right end; the left end is its negative."""

    def place(self, value: float) -> float:
        """Where a value stands, clipped to the axis."""
        return round(min(100.0, max(0.0, 50 + 50 * value / self.reach)), 2)


def tally(judgements: Sequence[Judgement]) -> dict[Verdict, int]:
    """Number of pairs by verdict; those that nobody gives are left out."""
    counts = {verdict: sum(judgement.verdict is verdict for judgement in judgements) for verdict in Verdict}
    return {verdict: count for verdict, count in counts.items() if count}


def cards_of(judgements: Sequence[Judgement]) -> list[Card]:
    """A card a claim: those with something decided first, else in the order of `judgements`."""
    place = {verdict: place for place, verdict in enumerate(_ORDER)}
    cards = [
        Card(claim.text, tuple(sorted(members, key=lambda j: place[j.verdict])))
        for claim, members in groupby(judgements, key=lambda j: j.claim)
    ]
    return sorted(cards, key=lambda card: min(place[verdict] for verdict in card.tally) > 1)


_ORDER = (Verdict.CONTRADICTED, Verdict.SUPPORTED, Verdict.NO_LARGER, Verdict.NOT_DECIDED)


def not_judged(cards: Sequence[Card]) -> list[str]:
    """Claims that no pair of rows speaks to."""
    judged = {card.text for card in cards}
    return [claim.text for claim in CLAIMS.values() if claim.text not in judged]


def scales_of(cards: Sequence[Card]) -> dict[str, Scale]:
    """One a metric, wide enough for most intervals: one of two seeds must not flatten all others."""
    reaches: dict[str, list[float]] = {}
    for c in (judgement.comparison for card in cards for judgement in card.judgements):
        if c is not None:
            ends = [abs(value) for value in (c.mean, c.low, c.high) if math.isfinite(value)]
            reaches.setdefault(c.metric, []).append(max(ends))
    return {metric: Scale(1.15 * (_quantile(ends, 0.8) or 1.0)) for metric, ends in reaches.items()}


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]
