"""Paired comparisons of rows: with their plain partners, corrected within each table, and what would decide them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reporting import inference
from benchmarks.reporting.inference import Difference
from benchmarks.reporting.published import table_of
from benchmarks.reporting.rows import Row
from benchmarks.reporting.statistics import Interval
from benchmarks.running.parallel import mapped

Key = tuple[tuple[str, ...], tuple[str, ...]]
"""Of two rows: who against whom."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Of a row with another on the same test problems."""

    family: str
    """In which p is corrected: the key of a table or of a claim."""
    row: Row
    other: Row
    difference: Difference
    """row - other: percentage points of accuracy, or units of the loss."""
    p: float
    """Corrected within the family."""
    more: int | None
    """See `inference.more_needed`."""

    @property
    def key(self) -> Key:
        """Of its rows."""
        return self.row.key, self.other.key

    @property
    def low(self) -> float:
        """Lower end of the interval; NaN where a single unit gives none."""
        return self.difference.mean - self.difference.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval; NaN where a single unit gives none."""
        return self.difference.mean + self.difference.half_width

    @property
    def decided(self) -> bool:
        """The interval of the difference excludes zero."""
        return abs(self.difference.mean) > self.difference.half_width

    @property
    def better(self) -> bool | None:
        """Whether the row is better than the other; None while that is not decided."""
        return (self.difference.mean > 0) == self.row.higher_is_better if self.decided else None


def compare(rows: Sequence[Row]) -> list[Comparison]:
    """Every regularized row with its plain partner, in the order of `rows`; p is corrected within each table."""
    plain = plain_partners(rows)
    pairs = [(row, plain[row.partner]) for row in rows if not row.plain and row.partner in plain]
    return compare_pairs((table_of(row), row, other) for row, other in pairs)


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


def compare_pairs(pairs: Iterable[tuple[str, Row, Row]], known: Sequence[Comparison] = ()) -> list[Comparison]:
    """Compare pairs of rows, each with the key of its family; those without a common test problem are left out.

    Args:
        pairs: (family, row, other).
        known: comparisons whose differences need not be worked out again, whatever their families.
    """
    pairs = list(pairs)
    differences = _differences(pairs, {c.key: (c.difference, c.more) for c in known})
    found = [
        (family, row, other, *differences[row.key, other.key])
        for family, row, other in pairs
        if (row.key, other.key) in differences
    ]
    p = np.full(len(found), np.nan)
    members: dict[str, list[int]] = {}
    for place, (family, *_) in enumerate(found):
        members.setdefault(family, []).append(place)
    for places in members.values():
        p[places] = inference.corrected([found[place][3] for place in places])
    return [
        Comparison(family, row, other, new, float(corrected), more)
        for (family, row, other, new, more), corrected in zip(found, p, strict=True)
    ]


Judged = tuple[Difference, int | None]
"""A difference, and how many more units it needs."""


def _differences(pairs: Sequence[tuple[str, Row, Row]], known: Mapping[Key, Judged]) -> dict[Key, Judged]:
    """Those of all pairs that have one, each worked out once."""
    tasks = {}
    for _, row, other in pairs:
        key = row.key, other.key
        if key not in known and key not in tasks and (values := _pairs(row, other)) is not None:
            tasks[key] = values, row.problem
    with mapped(_judged, list(tasks.values()), least=200, chunk=20) as results:
        new = dict(zip(tasks, results, strict=True))
    return {**known, **{key: judged for key, judged in new.items() if judged is not None}}


def _judged(task: tuple[np.ndarray, str]) -> Judged | None:
    difference = inference.of_difference(*task)
    return None if difference is None else (difference, inference.more_needed(difference))


def difference(row: Row, other: Row) -> Difference | None:
    """Of two rows on the same problems, over the seeds both have (None if there is no pair, or `unpaired`).

    A hand-designed optimizer is paired with every seed of a learned one.
    """
    pairs = _pairs(row, other)
    return None if pairs is None else inference.of_difference(pairs, row.problem)


def margin(row: Row, other: Row) -> Interval | None:
    """The mean and interval of `difference` alone, which cost far less than its p."""
    pairs = _pairs(row, other)
    return None if pairs is None else inference.of_row(list(pairs))


def unpaired(row: Row, other: Row) -> str:
    """Why problems of the two cannot be paired: how many each run has, where these differ; else empty."""
    sizes = sorted({len(values) for one in (row, other) for values in one.values.values()})
    return f"runs of {', '.join(map(str, sizes))} {row.problem} on one test" if len(sizes) > 1 else ""


def _pairs(row: Row, other: Row) -> np.ndarray | None:
    """Differences [seeds, problems]; None where the two were not tested on the same problems."""
    if row.tested_on != other.tested_on or row.metric != other.metric or unpaired(row, other):
        return None
    return np.array([a - b for a, b in _paired_seeds(row, other)])


def _paired_seeds(a: Row, b: Row) -> list[tuple[np.ndarray, np.ndarray]]:
    if a.hand_designed != b.hand_designed:
        fixed, learned = (a, b) if a.hand_designed else (b, a)
        values = next(iter(fixed.values.values()), None)
        pairs = [] if values is None else [(values, other) for other in learned.values.values()]
        return pairs if fixed is a else [(y, x) for x, y in pairs]
    return [(a.values[seed], b.values[seed]) for seed in sorted(set(a.values) & set(b.values))]


def best_rows(rows: Sequence[Row]) -> set[tuple[str, ...]]:
    """Keys of the best row of each table and test, if its paired difference to every other row excludes zero.

    A row of which a test run diverged is never the best: pairs without that run flatter it.
    """
    groups: dict[tuple[str, ...], list[tuple[Row, Interval]]] = {}
    for row in rows:
        if row.interval is not None:
            groups.setdefault((table_of(row), *row.tested_on, row.metric), []).append((row, row.interval))
    return {best.key for members in groups.values() if (best := _best(members)) is not None}


def _best(members: Sequence[tuple[Row, Interval]]) -> Row | None:
    sign = 1 if members[0][0].higher_is_better else -1
    best, _ = max(members, key=lambda member: sign * member[1].mean)
    if best.diverged or len(members) == 1:
        return None
    margins = (margin(best, row) for row, _ in members if row is not best)
    return best if all(m is not None and sign * m.mean > m.half_width for m in margins) else None
