"""What the paper claims, and whether the rows at hand support it: one verdict a pair of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.reporting.compare import (
    DEFAULT_MARGINS,
    LIPSCHITZ,
    Comparison,
    Margins,
    Pair,
    compare_pairs,
    plain_partners,
)
from benchmarks.reporting.crossed.decisions import Verdict
from benchmarks.reporting.published import table_of
from benchmarks.reporting.rows import Row
from fewshot.registry import Registry


@dataclass(frozen=True)
class Claim:
    """Of every pair of rows that fits: the first is better (or worse) than the second on the same test problems."""

    text: str
    first: Callable[[Row], bool]
    second: Callable[[Row], bool]
    partners: bool = True
    """Pairs differ in their regularizer alone."""
    better: bool = True
    metric: str = ""
    """What is better; empty: the result of the rows."""


CLAIMS: Registry[Claim] = Registry("claim")
"""In the order of the report; p is corrected over all pairs of rows that speak to a claim."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """On one claim, by one pair of rows."""

    key: str
    """Of the claim in `CLAIMS`."""
    claim: Claim
    row: Row
    other: Row
    comparison: Comparison | None
    """None where no test problem has a value of both."""

    @property
    def verdict(self) -> Verdict:
        return Verdict.NOT_DECIDED if self.comparison is None else self.comparison.decision.verdict


def _method(name: str) -> Callable[[Row], bool]:
    return lambda row: row.track == "few_shot" and row.method == name and not row.source


def _elsewhere(row: Row) -> bool:
    return row.track == "few_shot" and bool(row.source)


def _regularized(name: str, of: Callable[[Row], bool]) -> Callable[[Row], bool]:
    return lambda row: row.regularizer == name and of(row)


def _learned(row: Row) -> bool:
    return row.track == "general" and not row.hand_designed and not row.source


def _simple(row: Row) -> bool:
    return _learned(row) and row.method == "simple"


def _others(row: Row) -> bool:
    return _learned(row) and row.method != "simple"


def _transferred(row: Row) -> bool:
    return row.track == "general" and row.source not in ("", row.labels["task"])


def _tested_again(row: Row) -> bool:
    return row.track == "general" and row.source == row.labels.get("task")


def _measured_around_zero(row: Row) -> bool:
    return _learned(row) and any(found.lipschitz is not None for found in row.trained.values())


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
CLAIMS["few-shot-transfer"] = _smoothed(
    "Tested on other data or shots, smoothed few-shot learners are better than plain ones", _elsewhere
)
CLAIMS["learned"] = _smoothed("Smoothing makes other learned optimizers better (figure 3)", _others)
CLAIMS["hand-designed"] = _beats_hand_designed(
    "Smoothed learned optimizers are better than hand-designed ones (figures 3, 4 and 8)", _learned
)
for _key, _where, _of in (
    ("transfer", "Transferred to other tasks, {} (figure 5)", _transferred),
    ("again", "Tested again on their own task, such as for more steps, {} (figures 3 and 4)", _tested_again),
):
    CLAIMS[_key] = _smoothed(_where.format("smoothed learned optimizers are better than plain ones"), _of)
    CLAIMS[f"{_key}-hand-designed"] = _beats_hand_designed(
        _where.format("smoothed learned optimizers are better than hand-designed ones"), _of
    )
CLAIMS["smoothness"] = Claim(
    "Smoothed learned optimizers are smoother around zero than plain ones (figure 7)",
    _regularized("smooth", _measured_around_zero),
    _regularized("none", _measured_around_zero),
    metric=LIPSCHITZ,
)


def judge(rows: Sequence[Row], margins: Margins = DEFAULT_MARGINS) -> list[Judgement]:
    """A verdict on every claim, by every pair of rows that speaks to it, in the order of `CLAIMS`.

    Args:
        rows: all of them: what is shown never changes a correction.
        margins: of what is practically nothing.
    """
    pairs = [
        (claim, Pair(key, row, other, claim.better, claim.metric))
        for key, claim in CLAIMS.items()
        for row, other in _pairs(claim, rows)
    ]
    found = {(c.pair.family, c.pair.key): c for c in compare_pairs([pair for _, pair in pairs], margins)}
    return [
        Judgement(pair.family, claim, pair.row, pair.other, found.get((pair.family, pair.key))) for claim, pair in pairs
    ]


def compare(
    rows: Sequence[Row], judgements: Sequence[Judgement] | None = None, margins: Margins = DEFAULT_MARGINS
) -> list[Comparison]:
    """Every regularized row with its plain partner, in the order of `rows`.

    A difference that a claim speaks of is the one that the claim is judged by, so that it reads the same everywhere; of
    the others, those of a table are a family.

    Args:
        rows: all of them.
        judgements: of `judge` on these rows; made where None.
        margins: of what is practically nothing.
    """
    judged: dict[tuple[object, ...], Comparison] = {}
    for judgement in judge(rows, margins) if judgements is None else judgements:
        if judgement.comparison is not None:
            judged.setdefault(judgement.comparison.pair.key, judgement.comparison)
    plain = plain_partners(rows)
    pairs = [Pair(table_of(row), row, plain[row.partner]) for row in rows if not row.plain and row.partner in plain]
    others = {c.pair.key: c for c in compare_pairs([pair for pair in pairs if pair.key not in judged], margins)}
    found = (judged.get(pair.key) or others.get(pair.key) for pair in pairs)
    return [comparison for comparison in found if comparison is not None]


def _pairs(claim: Claim, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    by_test: dict[tuple[str, ...], list[Row]] = {}
    unique = {row.key for row in plain_partners(rows).values()}
    for row in filter(claim.second, rows):
        if claim.partners and row.plain and row.key not in unique:
            continue
        by_test.setdefault(row.partner if claim.partners else row.tested_on, []).append(row)
    firsts = filter(claim.first, rows)
    return [(row, o) for row in firsts for o in by_test.get(row.partner if claim.partners else row.tested_on, ())]
