"""How numbers, rows and verdicts read, the same in tables, in figures and on the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.reporting.claims import Verdict
from benchmarks.reporting.compare import Comparison, unpaired
from benchmarks.reporting.rows import Row

UNITS = {"accuracy": "points", "loss": "of the loss"}
"""Of differences, by the metric of their rows."""
DIFFERENCES = {
    "accuracy": "difference in test accuracy (percentage points; right of 0: regularized is better)",
    "loss": "difference in final test loss (left of 0: regularized is better)",
}
"""Axis of differences, by the metric of their rows."""
NOTES = """\
Mean ± half-width of a 95 % t interval over the unit under `over`: test episodes or initializations of one trained
model, or seeds where there are several; `pooled ±` is over all episodes or initializations of all seeds.
Paper: as published; the paper does not say what its ± is. Difference: to the same configuration without regularizer,
paired on the same test episodes or initializations and seeds (points of accuracy, or units of the loss). p: Wilcoxon's
signed-rank test over episodes or initializations (averaged over seeds), Holm-corrected over the whole table.
More: how many more of the unit would show this difference at 80 % power. Bold: nothing diverged, and better than
every other row on the same test, by paired intervals that exclude zero. T: transductive. Failed and diverged runs are
counted, never averaged; pairs of which one diverged are dropped from the difference, which favours the method that
diverges more."""


def number(value: float, metric: str, sign: str = "") -> str:
    """A value or a difference, to the digits that its metric deserves; empty where there is none."""
    return "" if math.isnan(value) else format(value, sign + (".2f" if metric == "accuracy" else ".4g"))


def interval(mean: float, half_width: float, metric: str, sign: str = "") -> str:
    """Mean ± half-width, "?" where a single value gives none; empty where there is no mean."""
    return f"{number(mean, metric, sign)} ± {number(half_width, metric) or '?'}" if not math.isnan(mean) else ""


def p_value(p: float) -> str:
    """Empty where there is none."""
    return "" if math.isnan(p) else f"{p:.2g}"


def count(n: int, units: str) -> str:
    """Such as "5 seeds" or "1 seed"."""
    return f"{n:,} {units if n != 1 else units.removesuffix('s')}"


def sample(problems: int, problem: str, seeds: int) -> str:
    """The test problems of all runs; empty where none finished."""
    return f"{count(problems, problem)} × {count(seeds, 'seeds')}" if seeds else ""


def lost(failed: int, diverged: int, dropped: int = 0) -> str:
    """What no mean counts; empty where that is nothing."""
    counts = [f"{n} {what}" for what, n in (("failed", failed), ("diverged", diverged)) if n]
    return ", ".join([*counts, *([f"{count(dropped, 'pairs')} dropped"] if dropped else [])])


def result_name(row: Row) -> str:
    """What the result of a row is, with its unit."""
    if row.track == "few_shot":
        return "test accuracy (%)"
    return "final test accuracy (%)" if row.higher_is_better else "final test loss"


@dataclass(frozen=True)
class Said:
    """A comparison in words."""

    difference: str
    """With its interval and unit."""
    over: str
    p: str
    lost: str
    """Pairs that were lost to divergence; empty where none were."""
    missing: str
    """What would decide it; empty where it is decided."""

    def line(self) -> str:
        """All of it."""
        lost = f"; {self.lost}" if self.lost else ""
        missing = f"; {self.missing}" if self.missing else ""
        return f"{self.difference} over {self.over}, p {self.p}{lost}{missing}"


def said(comparison: Comparison) -> Said:
    """A comparison in words."""
    d, metric = comparison.difference, comparison.row.metric
    diverged = f"{comparison.row.diverged} against {comparison.other.diverged} test runs diverged"
    return Said(
        f"{interval(d.mean, d.half_width, metric, '+')} {UNITS[metric]}",
        count(d.n, d.unit),
        p_value(comparison.p),
        f"{count(d.dropped, 'pairs')} dropped, {diverged}" if d.dropped else "",
        _missing(comparison),
    )


def numbers(comparison: Comparison) -> str:
    """A comparison as briefly as a figure has room for it."""
    d = comparison.difference
    p = f", p = {p_value(comparison.p)}" if p_value(comparison.p) else ""
    return f"{interval(d.mean, d.half_width, comparison.row.metric, '+')} (n = {count(d.n, d.unit)}{p})"


def _missing(comparison: Comparison) -> str:
    if comparison.decided:
        return ""
    if comparison.more is None:
        return "what would decide it cannot be told from these"
    more = count(comparison.more, f"more {comparison.difference.unit}")
    return f"{more} would show this difference at 80 % power"


def pair_of(verdict: Verdict) -> str:
    """Who against whom, on what."""
    return f"{verdict.row.label} against {verdict.other.label} on {verdict.row.on}"


def judged(verdict: Verdict) -> str:
    """What the verdict rests on."""
    if verdict.comparison is not None:
        return said(verdict.comparison).line()
    failed = verdict.row.failed + verdict.other.failed
    diverged = verdict.row.diverged + verdict.other.diverged
    return unpaired(verdict.row, verdict.other) or (
        f"no test problem has a value of both, {count(failed, 'runs')} failed, {count(diverged, 'test runs')} diverged"
    )
