"""What the paper claims, and whether the rows at hand support it: one verdict a pair of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.reporting.compare import Comparison, compare_pairs, plain_partners
from benchmarks.reporting.render import escape_markdown
from benchmarks.reporting.rows import Row
from benchmarks.reporting.runs import LABELS
from benchmarks.reporting.tables import settings_of

SUPPORTED, CONTRADICTED, NOT_DECIDED = "supported", "contradicted", "not decided"


@dataclass(frozen=True)
class Claim:
    """Of every pair of rows that fits: the first is better (or worse) than the second on the same test problems."""

    key: str
    text: str
    first: Callable[[Row], bool]
    second: Callable[[Row], bool]
    partners: bool = True
    """Pairs differ in their regularizer alone."""
    better: bool = True


@dataclass(frozen=True)
class Verdict:
    """On one claim, by one pair of rows."""

    claim: Claim
    row: Row
    other: Row
    settings: str
    """What tells the row apart from others of its labels."""
    comparison: Comparison | None
    """With p corrected over all pairs of the claim; None where no test problem has a value of both."""

    @property
    def verdict(self) -> str:
        """Whether the interval of the paired difference excludes zero, and on which side."""
        if self.comparison is None or self.comparison.better is None:
            return NOT_DECIDED
        return SUPPORTED if self.comparison.better == self.claim.better else CONTRADICTED


def _method(name: str) -> Callable[[Row], bool]:
    return lambda row: row.labels.get("method") == name


def _regularized(name: str, of: Callable[[Row], bool]) -> Callable[[Row], bool]:
    return lambda row: row.labels["regularizer"] == name and of(row)


def _learned(row: Row) -> bool:
    return row.track == "general" and not row.hand_designed and not row.labels["source"]


def _simple(row: Row) -> bool:
    return _learned(row) and row.labels["optimizer"] == "simple"


def _transferred(row: Row) -> bool:
    return row.track == "general" and bool(row.labels["source"])


def _hand_designed(row: Row) -> bool:
    return row.hand_designed


def _table1(regularizer: str, name: str, better: bool) -> Claim:
    text = f"{name} makes SimpleOptimizer {'better' if better else 'worse'} (table 1)"
    return Claim(
        f"table1-{regularizer}", text, _regularized(regularizer, _simple), _regularized("none", _simple), better=better
    )


CLAIMS = (
    _table1("smooth", "Smoothing", True),
    _table1("l2", "ℓ2 regularization", True),
    _table1("spectral", "Spectral normalization", True),
    _table1("orthogonal", "Orthogonal regularization", False),
    Claim(
        "table1-others",
        "Smoothing makes SimpleOptimizer better than other regularizers do (table 1)",
        _regularized("smooth", _simple),
        lambda row: _simple(row) and row.labels["regularizer"] not in ("none", "smooth"),
    ),
    Claim(
        "table2",
        "Smoothed Meta-LSTM is better than Meta-LSTM (table 2)",
        _regularized("smooth", _method("meta_lstm")),
        _regularized("none", _method("meta_lstm")),
    ),
    Claim(
        "table3",
        "Smoothed SIB is better than SIB (table 3)",
        _regularized("smooth", _method("sib")),
        _regularized("none", _method("sib")),
    ),
    Claim(
        "learned",
        "Smoothing makes other learned optimizers better (figure 3)",
        _regularized("smooth", lambda row: _learned(row) and not _simple(row)),
        _regularized("none", lambda row: _learned(row) and not _simple(row)),
    ),
    Claim(
        "hand-designed",
        "Smoothed learned optimizers are better than hand-designed ones (figures 3, 4 and 8)",
        _regularized("smooth", _learned),
        _hand_designed,
        partners=False,
    ),
    Claim(
        "transfer",
        "Transferred to other tasks, smoothed learned optimizers are better than plain ones (figure 5)",
        _regularized("smooth", _transferred),
        _regularized("none", _transferred),
    ),
    Claim(
        "transfer-hand-designed",
        "Transferred to other tasks, smoothed learned optimizers are better than hand-designed ones (figure 5)",
        _regularized("smooth", _transferred),
        _hand_designed,
        partners=False,
    ),
)
"""General-track claims are judged by the final test accuracy, or loss where a task has no accuracy."""


def judge(rows: Sequence[Row], shown: Sequence[Row] | None = None, known: Sequence[Comparison] = ()) -> list[Verdict]:
    """Verdicts on every claim that the rows speak to, in the order of `CLAIMS` and `rows`.

    Args:
        rows: all of them, so that what is shown never changes a correction.
        shown: judge only claims on these; all where None.
        known: comparisons of these rows that were made before, which saves time.
    """
    pairs = [(claim, row, other) for claim in CLAIMS for row, other in _pairs(claim, rows)]
    found = compare_pairs(((claim.key, row, other) for claim, row, other in pairs), known)
    comparisons = {(c.table, id(c.row), id(c.other)): c for c in found}
    settings = {id(row): text for row, text in zip(rows, settings_of(rows), strict=True)}
    verdicts = [
        Verdict(claim, row, other, settings[id(row)], comparisons.get((claim.key, id(row), id(other))))
        for claim, row, other in pairs
    ]
    visible = {id(row) for row in (rows if shown is None else shown)}
    return [verdict for verdict in verdicts if id(verdict.row) in visible]


def _pairs(claim: Claim, rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    by_test: dict[tuple[str, ...], list[Row]] = {}
    unique = {id(row) for row in plain_partners(rows).values()}
    for row in filter(claim.second, rows):
        if claim.partners and row.plain and id(row) not in unique:
            continue
        by_test.setdefault(row.partner if claim.partners else row.tested_on, []).append(row)
    firsts = filter(claim.first, rows)
    return [(row, o) for row in firsts for o in by_test.get(row.partner if claim.partners else row.tested_on, ())]


def to_lines(verdicts: Sequence[Verdict]) -> str:
    """Markdown: a heading, and a list of verdicts under every claim; nothing where there are none."""
    if not verdicts:
        return ""
    parts = ["### The paper's claims, judged by these rows"]
    for text, members in groupby(verdicts, key=lambda verdict: verdict.claim.text):
        parts.append(f"{text}:\n\n" + "\n".join(f"- {sentence(verdict)}" for verdict in members))
    return "\n\n".join(parts)


def sentence(verdict: Verdict) -> str:
    """One verdict in words: rows, difference, n, corrected p, and what would decide it."""
    settings = f" ({verdict.settings})" if verdict.settings else ""
    pair = escape_markdown(f"{_name(verdict.row)}{settings} against {_other_name(verdict)}")
    comparison = verdict.comparison
    if comparison is None:
        failed = verdict.row.failed + verdict.other.failed
        diverged = verdict.row.diverged + verdict.other.diverged
        unpaired = verdict.row.unpaired(verdict.other)
        why = unpaired or f"no test problem has a value of both, {failed} runs failed, {diverged} test runs diverged"
        return f"{pair}: **{NOT_DECIDED}** ({why})"
    difference = comparison.difference
    unit = "points" if verdict.row.metric == "accuracy" else "of the loss"
    form = "+.2f" if verdict.row.metric == "accuracy" else "+.4g"
    half_width = "?" if difference.n < 2 else format(difference.half_width, form[1:])
    numbers = f"{difference.mean:{form}} ± {half_width} {unit} over {difference.n} {difference.unit}"
    return f"{pair}: **{verdict.verdict}** ({numbers}, p {comparison.holm:.2g}{_dropped(verdict)}{_more(comparison)})"


def _name(row: Row) -> str:
    return " ".join(str(row.labels[name]) for name in LABELS[row.track] if row.labels[name] != "")


def _other_name(verdict: Verdict) -> str:
    other = verdict.other
    return other.labels["optimizer"] if other.hand_designed else other.labels["regularizer"]


def _dropped(verdict: Verdict) -> str:
    dropped = verdict.comparison.difference.dropped if verdict.comparison else 0
    counts = f"{verdict.row.diverged} against {verdict.other.diverged} test runs diverged"
    return f"; {dropped} pairs dropped, {counts}" if dropped else ""


def _more(comparison: Comparison) -> str:
    if comparison.decided:
        return ""
    if comparison.more is None:
        return "; what would decide it cannot be told from these"
    return f"; {comparison.more} more {comparison.difference.unit} would show this difference at 80 % power"
