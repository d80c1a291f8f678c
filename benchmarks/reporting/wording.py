"""How numbers, rows and verdicts read, the same in tables, in figures and on the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.reporting.claims import Judgement
from benchmarks.reporting.compare import ALPHA, Comparison, Margins, unpaired
from benchmarks.reporting.crossed.analysis import Analysis
from benchmarks.reporting.crossed.decisions import Verdict
from benchmarks.reporting.rows import Row

UNITS = {"accuracy": "points", "loss": "of the loss", "lipschitz": "of the Lipschitz number"}
"""Of differences, by metric."""
DIFFERENCES = {
    "accuracy": "difference in test accuracy (percentage points; right of 0: regularized is better)",
    "loss": "difference in final test loss (left of 0: regularized is better)",
}
"""Axis of differences, by the metric of their rows."""
_NOTES = """\
Mean ± half-width of a 95 % interval: would another seed and another test problem say the same? Two-way random effects
over what stands under `over`; "one trained model" says that nothing is known of other seeds. Paper: as published; the
paper does not say what its ± is. Difference: to the same configuration without regularizer, on the same test problems
and seeds. p is Holm-corrected over all comparisons that speak to the same claim of those below (without one: over the
table), and the interval in parentheses holds for all of these at once: it excludes zero where p is below 0.05. No
larger than: the farther end of the 90 % interval; "(equal)" where that is practically nothing, below {points:g}
{unit} of accuracy or {relative:g} % of the loss (--margin-points, --margin-relative). More: how many more seeds, or how
many more test problems, would show this difference at 80 % power; "no number" where none would. Bold: better than every
other row on the same test. T: transductive. Failed and diverged runs are counted, never averaged: means and
differences are of the problems that have all values, and stand beside the worst case, in which such a run has the worst
value of all; a difference is decided only where both agree. "Early best": the last optimizer of so many
meta-trainings was more than 10 % worse on validation than the best, which is tested. docs/tables.md says more."""


SPEED_UPS = """\
Speed-up: how many times as many steps Adam needs for the same final test loss, with the best rate of its grid for every
problem and step; mean ratio over seeds and test problems with the ends of its 95 % interval. "≥": a bound, since Adam
never has the loss of some runs in as many steps as it was run for, and they count as its last step; "≤": it has it at
its first recorded step; "?": both."""


_ONE_MODEL = """\
One trained model: the number of threads and the order of summation alone move its result, by as much as
docs/statistics.md says under "Re-runs"; no smaller difference of single seeds means anything."""


def notes(margins: Margins, speed_ups: bool = False, one_model: bool = False) -> str:
    """How tables are to be read.

    Args:
        margins: of what is practically nothing.
        speed_ups: there is a column of them.
        one_model: there are rows of a single seed.
    """
    unit = "point" if margins.points == 1 else "points"
    general = _NOTES.format(points=margins.points, unit=unit, relative=100 * margins.relative)
    return "\n".join([general, *[_ONE_MODEL] * one_model, *[SPEED_UPS] * speed_ups])


def number(value: float, metric: str, sign: str = "") -> str:
    """A value or a difference, to the digits that its metric deserves; empty where there is none."""
    return "" if math.isnan(value) else format(value, sign + (".2f" if metric == "accuracy" else ".4g"))


def interval(mean: float, half_width: float, metric: str, sign: str = "") -> str:
    """Mean ± half-width, "?" where a single value gives none; empty where there is no mean."""
    return f"{number(mean, metric, sign)} ± {number(half_width, metric) or '?'}" if not math.isnan(mean) else ""


def p_value(p: float) -> str:
    """Empty where there is none; never rounded to the other side of the level."""
    if math.isnan(p):
        return ""
    if p < 1e-4:
        return "< 0.0001"
    digits = 2
    while (float(f"{p:.{digits}g}") < ALPHA) != (p < ALPHA):
        digits += 1
    return f"{p:.{digits}g}"


def count(n: int, units: str) -> str:
    """Such as "5 seeds" or "1 seed"."""
    return f"{n:,} {units if n != 1 else units.removesuffix('s')}"


def between(mean: float, low: float, high: float, metric: str) -> str:
    """A difference and the ends of its interval, "?" where a single value gives none; empty where there is no mean."""
    if math.isnan(mean):
        return ""
    return f"{number(mean, metric, '+')} ({ends(low, high, metric) or '?'})"


def ends(low: float, high: float, metric: str) -> str:
    """Of an interval of a difference, such as "+0.12 to +0.34"; empty where there is none.

    A decided one may end at zero and excludes it: "0", not "+0.00", which is a little more or less.
    """
    if math.isnan(low):
        return ""
    return " to ".join(number(end, metric, "+") if end else "0" for end in (low, high))


def bound(no_larger_than: float, equivalent: bool, metric: str) -> str:
    """What an effect is no larger than, rounded up; empty where that is not known."""
    return _rounded_up(no_larger_than, metric) + (" (equal)" if equivalent else "")


def _rounded_up(value: float, metric: str) -> str:
    if not math.isfinite(value) or value == 0:
        return number(value, metric)
    digits = 2 if metric == "accuracy" else 3 - math.floor(math.log10(abs(value)))
    return number(math.ceil(round(value * 10.0**digits, 6)) / 10.0**digits, metric)


def speed_up(ratio: float, low: float, high: float, bound: str) -> str:
    """A ratio with the ends of its interval; a bound, and the end that it has, where it is one; empty without one."""
    if math.isnan(ratio) or bound == "unknown":
        return "" if math.isnan(ratio) else "?"
    sign = {"at least": "≥ ", "at most": "≤ "}.get(bound, "")
    known = [f"{sign}{end:.3g}" for end in (low, high) if 0 < end < math.inf]
    return f"{sign}{ratio:.3g} ({' to '.join(known) or '?'})"


def more(seeds: float, problems: float, problem: str) -> str:
    """What would decide a difference; empty where that cannot be told."""
    known = [(n, unit) for n, unit in ((seeds, "seeds"), (problems, problem)) if not math.isnan(n)]
    helping = [count(int(n), unit) for n, unit in known if math.isfinite(n)]
    return " or ".join(helping) or ("no number" if known else "")


def sample(analysis: Analysis, problem: str) -> str:
    """What a mean is over, such as "5 seeds × 25 initializations" or "600 episodes, one trained model"."""
    seeds = " and ".join(str(side.seeds) for side in analysis.sides)
    parts = [count(int(seeds), "seeds") if seeds.isdecimal() else f"{seeds} seeds"] if seeds else []
    if analysis.problems > 1 or not seeds:
        parts.append(count(analysis.problems, problem))
    return " × ".join(parts) + (", one trained model" if analysis.one_model else "")


def lost(failed: int, diverged: int) -> str:
    """What no mean counts; empty where that is nothing."""
    return ", ".join(f"{n} {what}" for n, what in ((failed, "failed"), (diverged, "diverged")) if n)


def share(percent: float) -> str:
    """Of something, in %; empty where it is not known."""
    return "" if math.isnan(percent) else f"{percent:.3g}"


def unroll(number: float) -> str:
    """Of meta-training; empty where it is not known."""
    return "" if math.isnan(number) else f"{number:,.0f}"


def last_loss(value: float) -> str:
    """On validation; empty where it is not known."""
    return "diverged" if math.isinf(value) else number(value, "loss")


def selection(row: Row) -> str:
    """How its optimizers were selected; empty where nothing is known."""
    found = row.selection
    if found is None:
        return ""
    parts = []
    if (at := unroll(found.best_unroll)) and not math.isnan(found.best_loss):
        last = f", at last {last_loss(found.last_loss)}" if not math.isnan(found.last_loss) else ""
        parts.append(f"selected at unroll {at}: validation loss {number(found.best_loss, 'loss')}{last}")
    shares = ((found.exploded, "of unrolls exploded"), (found.clipped, "of the meta-gradient clipped"))
    parts += [f"{share(percent)} % {what}" for percent, what in shares if not math.isnan(percent)]
    return "; ".join(parts)


def remarks(row: Row, comparison: Comparison | None) -> str:
    """What a reader has to know of a row, and of its difference, beyond their numbers; empty where nothing is."""
    found = [f"runs differ in {name} ({', '.join(values)})" for name, values in row.computed.items() if len(values) > 1]
    if row.early:
        found.append(f"early best in {row.early} of {count(len(row.trained), 'seeds')}")
    return "; ".join(filter(None, [*found, unlike(comparison) if comparison else ""]))


def unlike(comparison: Comparison) -> str:
    """In what else than they should two rows differ, which alone can move results; empty where in nothing."""
    mine, others = comparison.row.computed, comparison.other.computed
    parts = [
        f"{name} {', '.join(mine[name])} against {', '.join(others[name])}"
        for name in mine
        if mine[name] and others[name] and mine[name] != others[name]
    ]
    return f"computed with {'; '.join(parts)}" if parts else ""


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
    bound: str
    """What the effect is no larger than, where the verdict does not say so; empty where that is not known."""
    lost: str
    """What is missing, and the difference with all of it at the worst; empty where nothing is."""
    unlike: str
    """See `unlike`."""
    missing: str
    """What would decide it; empty where it is decided."""

    def line(self) -> str:
        """All of it."""
        over = f"{self.difference} over {self.over}{f', p {self.p}' if self.p else ''}"
        return "; ".join(filter(None, [over, self.bound, self.lost, self.unlike, self.missing]))


def said(comparison: Comparison) -> Said:
    """A comparison in words."""
    contrast, decision, metric = comparison.contrast, comparison.decision, comparison.metric
    lost = ""
    if any(contrast.missing):
        worst = number(contrast.worst.mean, metric, "+")
        counts = f"{contrast.missing[0]} against {contrast.missing[1]} test runs without a value"
        lost = f"{counts}, {worst} if these count as the worst"
    return Said(
        f"{between(comparison.mean, comparison.low, comparison.high, metric)} {UNITS[metric]}",
        sample(contrast.main, comparison.row.problem),
        p_value(decision.p),
        _bound(comparison),
        lost,
        unlike(comparison),
        _missing(comparison),
    )


def _bound(comparison: Comparison) -> str:
    decision = comparison.decision
    if decision.verdict is Verdict.NOT_DECIDED and not math.isnan(decision.no_larger_than):
        return f"at most {_effect(comparison)}"
    return f"practically nothing, at most {_effect(comparison)}" if comparison.decided and decision.equivalent else ""


def _effect(comparison: Comparison) -> str:
    return f"{bound(comparison.decision.no_larger_than, False, comparison.metric)} {UNITS[comparison.metric]}"


def numbers(comparison: Comparison) -> str:
    """A comparison as briefly as a figure has room for it."""
    p = p_value(comparison.decision.p)
    difference = between(comparison.mean, comparison.low, comparison.high, comparison.metric)
    return f"{difference}{f', p {p}' if p else ''}"


def _missing(comparison: Comparison) -> str:
    if comparison.decision.verdict is not Verdict.NOT_DECIDED:
        return ""
    more = comparison.more
    known = [(n, unit) for n, unit in ((more.seeds, "seeds"), (more.problems, comparison.row.problem)) if n is not None]
    if not known:
        return "what would decide it cannot be told from these"
    helping = [count(int(n), f"more {unit}") for n, unit in known if math.isfinite(n)]
    vain = [unit for n, unit in known if math.isinf(n)]
    if not helping:
        return f"no number of {' or of '.join(vain)} would show it"
    alone = f", more {vain[0]} alone cannot" if vain else ""
    return f"{' or '.join(helping)} would show this difference at 80 % power{alone}"


def verdict(judgement: Judgement) -> str:
    """The verdict, with the effect that it excludes."""
    if judgement.verdict is Verdict.NO_LARGER and judgement.comparison is not None:
        return f"no effect larger than {_effect(judgement.comparison)}"
    return judgement.verdict.value


def pair_of(judgement: Judgement) -> str:
    """Who against whom, on what."""
    where = "around zero" if judgement.claim.metric else f"on {judgement.row.on}"
    return f"{judgement.row.label} against {judgement.other.label} {where}"


def judged(judgement: Judgement) -> str:
    """What the verdict rests on."""
    if judgement.comparison is not None:
        return said(judgement.comparison).line()
    failed = judgement.row.failed + judgement.other.failed
    diverged = judgement.row.diverged + judgement.other.diverged
    return unpaired(judgement.row, judgement.other) or (
        f"no test problem has a value of both, {count(failed, 'runs')} failed, {count(diverged, 'test runs')} diverged"
    )
