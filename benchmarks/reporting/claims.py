"""What the paper claims, and whether the rows at hand support it: one verdict a pair of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.reporting.compare import Comparison, compare_pairs, plain_partners
from benchmarks.reporting.rows import Row
from fewshot.registry import Registry

SUPPORTED, CONTRADICTED, NOT_DECIDED = "supported", "contradicted", "not decided"
VERDICTS = (SUPPORTED, CONTRADICTED, NOT_DECIDED)


@dataclass(frozen=True)
class Claim:
    """Of every pair of rows that fits: the first is better (or worse) than the second on the same test problems."""

    text: str
    first: Callable[[Row], bool]
    second: Callable[[Row], bool]
    partners: bool = True
    """Pairs differ in their regularizer alone."""
    better: bool = True


CLAIMS: Registry[Claim] = Registry("claim")
"""In the order of the report; p is corrected over all pairs of rows that speak to a claim."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """On one claim, by one pair of rows."""

    key: str
    """Of the claim in `CLAIMS`."""
    claim: Claim
    row: Row
    other: Row
    comparison: Comparison | None
    """None where no test problem has a value of both."""

    @property
    def verdict(self) -> str:
        """Whether the interval of the paired difference excludes zero, and on which side."""
        if self.comparison is None or self.comparison.better is None:
            return NOT_DECIDED
        return SUPPORTED if self.comparison.better == self.claim.better else CONTRADICTED


def _method(name: str) -> Callable[[Row], bool]:
    return lambda row: row.track == "few_shot" and row.method == name


def _regularized(name: str, of: Callable[[Row], bool]) -> Callable[[Row], bool]:
    return lambda row: row.regularizer == name and of(row)


def _learned(row: Row) -> bool:
    return row.track == "general" and not row.hand_designed and not row.source


def _simple(row: Row) -> bool:
    return _learned(row) and row.method == "simple"


def _others(row: Row) -> bool:
    return _learned(row) and row.method != "simple"


def _transferred(row: Row) -> bool:
    return row.track == "general" and bool(row.source)


def _hand_designed(row: Row) -> bool:
    return row.hand_designed


def _smoothed(text: str, of: Callable[[Row], bool]) -> Claim:
    return Claim(text, _regularized("smooth", of), _regularized("none", of))


def _beats_hand_designed(text: str, of: Callable[[Row], bool]) -> Claim:
    return Claim(text, _regularized("smooth", of), _hand_designed, partners=False)


for _name, _subject, _better in (
    ("smooth", "Smoothing", True),
    ("l2", "ℓ2 regularization", True),
    ("spectral", "Spectral normalization", True),
    ("orthogonal", "Orthogonal regularization", False),
):
    _text = f"{_subject} makes SimpleOptimizer {'better' if _better else 'worse'} (table 1)"
    CLAIMS[f"table1-{_name}"] = Claim(
        _text, _regularized(_name, _simple), _regularized("none", _simple), better=_better
    )
CLAIMS["table1-others"] = Claim(
    "Smoothing makes SimpleOptimizer better than other regularizers do (table 1)",
    _regularized("smooth", _simple),
    lambda row: _simple(row) and row.regularizer not in ("none", "smooth"),
)
CLAIMS["table2"] = _smoothed("Smoothed Meta-LSTM is better than Meta-LSTM (table 2)", _method("meta_lstm"))
CLAIMS["table3"] = _smoothed("Smoothed SIB is better than SIB (table 3)", _method("sib"))
CLAIMS["learned"] = _smoothed("Smoothing makes other learned optimizers better (figure 3)", _others)
CLAIMS["hand-designed"] = _beats_hand_designed(
    "Smoothed learned optimizers are better than hand-designed ones (figures 3, 4 and 8)", _learned
)
CLAIMS["transfer"] = _smoothed(
    "Transferred to other tasks, smoothed learned optimizers are better than plain ones (figure 5)", _transferred
)
CLAIMS["transfer-hand-designed"] = _beats_hand_designed(
    "Transferred to other tasks, smoothed learned optimizers are better than hand-designed ones (figure 5)",
    _transferred,
)


def judge(rows: Sequence[Row], shown: Sequence[Row] | None = None, known: Sequence[Comparison] = ()) -> list[Verdict]:
    """A verdict on every claim, by every pair of rows that speaks to it, in the order of `CLAIMS`.

    Args:
        rows: all of them, so that what is shown never changes a correction.
        shown: verdicts whose first row is not among these are left out; None: all are kept.
        known: comparisons of these rows that were made before, which saves time.
    """
    pairs = [(key, claim, row, other) for key, claim in CLAIMS.items() for row, other in _pairs(claim, rows)]
    found = compare_pairs(((key, row, other) for key, _, row, other in pairs), known)
    comparisons = {(c.family, *c.key): c for c in found}
    visible = {row.key for row in (rows if shown is None else shown)}
    return [
        Verdict(key, claim, row, other, comparisons.get((key, row.key, other.key)))
        for key, claim, row, other in pairs
        if row.key in visible
    ]


def _pairs(claim: Claim, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    by_test: dict[tuple[str, ...], list[Row]] = {}
    unique = {row.key for row in plain_partners(rows).values()}
    for row in filter(claim.second, rows):
        if claim.partners and row.plain and row.key not in unique:
            continue
        by_test.setdefault(row.partner if claim.partners else row.tested_on, []).append(row)
    firsts = filter(claim.first, rows)
    return [(row, o) for row in firsts for o in by_test.get(row.partner if claim.partners else row.tested_on, ())]
