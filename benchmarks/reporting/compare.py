"""Paired comparisons of rows, decided within families, and what would decide them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.reporting.crossed.decisions import Contrast, Decision, Verdict, contrast, decide
from benchmarks.reporting.crossed.power import More, more_needed
from benchmarks.reporting.published import table_of
from benchmarks.reporting.rows import Row
from fewshot.errors import InputError

ALPHA = 0.05
"""Chance that a family in which nothing differs shows a difference."""
LIPSCHITZ = "lipschitz"
"""Metric of optimizers rather than of what they trained."""


@dataclass(frozen=True)
class Margins:
    """Below which a difference is practically nothing; fixed before results are seen.

    Raises:
        InputError: where one is negative.
    """

    points: float = 1.0
    """Of accuracy, in percentage points."""
    relative: float = 0.02
    """Of a loss or a Lipschitz number, as a fraction of that of the second row."""

    def __post_init__(self) -> None:
        for name, value in (("--margin-points", self.points), ("--margin-relative", self.relative)):
            if not value >= 0:
                raise InputError(f"{name} is {value}; it must be at least 0")


DEFAULT_MARGINS = Margins()


@dataclass(frozen=True)
class Pair:
    """Two rows that are to be compared."""

    family: str
    """In which p is corrected: the key of a table or of a claim."""
    row: Row
    other: Row
    better: bool = True
    """What is claimed of the first row."""
    metric: str = ""
    """What is compared; empty: the result of the rows."""

    @property
    def key(self) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """Who against whom in what."""
        return self.row.key, self.other.key, self.metric


@dataclass(frozen=True, eq=False)
class Comparison:
    """Of a row with another on the same test problems."""

    pair: Pair
    contrast: Contrast
    """row - other: percentage points of accuracy, or units of the loss."""
    decision: Decision
    """Within the family."""
    margin: float
    """In units of the difference."""

    @property
    def row(self) -> Row:
        return self.pair.row

    @property
    def other(self) -> Row:
        return self.pair.other

    @property
    def metric(self) -> str:
        """What is compared: accuracy, loss or lipschitz."""
        return self.pair.metric or self.row.metric

    @property
    def mean(self) -> float:
        """Of the difference."""
        return self.contrast.main.mean

    @property
    def low(self) -> float:
        """Lower end of the simultaneous interval; NaN where there is none."""
        return self.decision.low

    @property
    def high(self) -> float:
        """Upper end of the simultaneous interval; NaN where there is none."""
        return self.decision.high

    @property
    def decided(self) -> bool:
        """There is a difference."""
        return self.decision.verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED)

    @property
    def better(self) -> bool | None:
        """Whether the row is better than the other; None while that is not decided."""
        return (self.mean > 0) == (self.metric == "accuracy") if self.decided else None

    @cached_property
    def more(self) -> More:
        """What would decide it; nothing where it is decided."""
        return More(None, None) if self.decided else more_needed(self.contrast.main, alpha=self.decision.level)


def plain_partners(rows: Sequence[Row]) -> dict[tuple[str, ...], Row]:
    """Plain rows by `Row.partner`, where there is only one.

    Transferred optimizers may have several, of sources that were meta-trained differently: none of them is known to
    differ in its regularizer alone.
    """
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.plain:
            found.setdefault(row.partner, []).append(row)
    return {partner: members[0] for partner, members in found.items() if len(members) == 1}


def compare_pairs(pairs: Iterable[Pair], margins: Margins = DEFAULT_MARGINS) -> list[Comparison]:
    """Compare pairs of rows; those without a common test problem are left out.

    Args:
        pairs: of all families whole, as each is decided by itself.
        margins: of what is practically nothing.
    """
    found: dict[str, list[tuple[int, Pair, Contrast]]] = {}
    for place, pair in enumerate(pairs):
        new = difference(pair.row, pair.other, pair.metric)
        if new is not None:
            found.setdefault(pair.family, []).append((place, pair, new))
    comparisons = {}
    for members in found.values():
        bounds = [_margin(pair, margins) for _, pair, _ in members]
        signs = [1 if pair.better == ((pair.metric or pair.row.metric) == "accuracy") else -1 for _, pair, _ in members]
        decisions = decide([new for *_, new in members], signs, bounds, ALPHA)
        for (place, pair, new), decision, bound in zip(members, decisions, bounds, strict=True):
            comparisons[place] = Comparison(pair, new, decision, bound)
    return [comparisons[place] for place in sorted(comparisons)]


def _margin(pair: Pair, margins: Margins) -> float:
    if (pair.metric or pair.row.metric) == "accuracy":
        return margins.points
    return margins.relative * float(abs(np.nanmean(_table(pair.other, pair.metric))))


def difference(row: Row, other: Row, metric: str = "") -> Contrast | None:
    """Of two rows on the same problems (None if no problem has a value of both, or `unpaired`).

    Seed by seed over the seeds that both have, failed ones too; if they have none in common, their seeds are unrelated.

    Args:
        row, other: the difference is row - other.
        metric: of `Pair`.
    """
    if row.tested_on != other.tested_on or row.metric != other.metric or unpaired(row, other):
        return None
    common = sorted(set(row.records) & set(other.records))
    same_seeds = bool(common) or row.hand_designed or other.hand_designed
    paired = common if not row.hand_designed and not other.hand_designed and common else None
    a, b = _table(row, metric, paired), _table(other, metric, paired)
    if a.shape[-1] != b.shape[-1]:  # one of them has no value at all
        return None
    found = contrast(a, b, higher_is_better=not metric and row.higher_is_better, same_seeds=same_seeds)
    return None if np.isnan(found.main.mean) else found


def _table(row: Row, metric: str, seeds: Sequence[int] | None = None) -> np.ndarray:
    """What is compared: [seeds, problems], or [problems] of what has no seeds."""
    if metric != LIPSCHITZ:
        return row.table(seeds)
    slopes = {seed: found.lipschitz for seed, found in row.trained.items() if found.lipschitz is not None}
    return np.array([[slopes.get(seed, np.nan)] for seed in (row.records if seeds is None else seeds)])


def unpaired(row: Row, other: Row) -> str:
    """Why problems of the two cannot be paired: how many each run has, where these differ; else empty."""
    sizes = sorted({len(values) for one in (row, other) for values in one.values.values()})
    return f"runs of {', '.join(map(str, sizes))} {row.problem} on one test" if len(sizes) > 1 else ""


def best_rows(rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """Keys of the best row of each table and test, if it differs from every other row, uncorrected."""
    groups: dict[tuple[str, ...], list[tuple[float, Row]]] = {}
    for row in rows:
        if row.analysis is not None:
            sign = -1 if row.higher_is_better else 1
            key = (table_of(row), *row.tested_on, row.metric)
            groups.setdefault(key, []).append((sign * row.analysis.mean, row))
    return {best.key for members in groups.values() if (best := _best(members)) is not None}


def _best(members: Sequence[tuple[float, Row]]) -> Row | None:
    (_, best), *others = sorted(members, key=lambda member: member[0])  # the nearest rival decides most often
    contrasts = (difference(best, row) for _, row in others)
    better = (c is not None and c.p < ALPHA and (c.main.mean > 0) == best.higher_is_better for c in contrasts)
    return best if others and all(better) else None
