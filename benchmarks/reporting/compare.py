"""Paired comparisons of rows: with their plain partners, corrected within each table, and what would decide them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.reporting.rows import Difference, Row
from benchmarks.reporting.statistics import holm, pairs_needed


@dataclass(frozen=True)
class Comparison:
    """Of a row with another on the same test problems."""

    table: str
    """Key of the family in which p is corrected: of `table_of`, or of a claim."""
    row: Row
    other: Row
    difference: Difference
    """row - other: percentage points of accuracy, or units of the loss."""
    holm: float
    """p, corrected within the table."""
    more: int | None
    """How many more units of the difference would show it at 80 % power if it were the true one; 0 where it is
    decided; None where that cannot be told: a difference of zero, or a single unit."""

    @property
    def decided(self) -> bool:
        """The interval of the difference excludes zero."""
        return abs(self.difference.mean) > self.difference.half_width

    @property
    def better(self) -> bool | None:
        """Whether the row is better than the other; None while that is not decided."""
        return (self.difference.mean > 0) == self.row.higher_is_better if self.decided else None


def table_of(row: Row) -> str:
    """Table in which a row stands: that of the paper which shows its method, else that of its track."""
    if row.track == "few_shot":
        return {"meta_lstm": "table2", "sib": "table3"}.get(row.labels["method"], "few_shot")
    return "table1" if row.labels["optimizer"] == "simple" and not row.labels["source"] else "general"


def compare(rows: Sequence[Row]) -> list[Comparison]:
    """Every regularized row with its plain partner, in the order of `rows`; Holm's correction within each table."""
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
    before = {(id(c.row), id(c.other)): c for c in known}
    found = [(key, row, other, _difference(row, other, before)) for key, row, other in pairs]
    kept = [(key, row, other, difference) for key, row, other, difference in found if difference is not None]
    corrected = np.full(len(kept), np.nan)
    for table in {key for key, *_ in kept}:
        family = [i for i, (key, *_) in enumerate(kept) if key == table]
        corrected[family] = holm([kept[i][3].p for i in family])
    return [Comparison(*parts, float(p), _more(parts, before)) for parts, p in zip(kept, corrected, strict=True)]


def _difference(row: Row, other: Row, known: Mapping[tuple[int, int], Comparison]) -> Difference | None:
    found = known.get((id(row), id(other)))
    return row.difference(other) if found is None else found.difference


def _more(parts: tuple[str, Row, Row, Difference], known: Mapping[tuple[int, int], Comparison]) -> int | None:
    _, row, other, difference = parts
    found = known.get((id(row), id(other)))
    return _needed(difference) if found is None else found.more


def _needed(difference: Difference) -> int | None:
    mean, half_width, n = difference.mean, difference.half_width, difference.n
    if n < 2:
        return None
    if abs(mean) > half_width:
        return 0
    deviation = half_width * np.sqrt(n) / stats.t.ppf(0.975, n - 1)
    needed = pairs_needed(mean / deviation) if deviation else None
    return needed and max(needed - n, 0)
