"""Verdicts on a family of comparisons: by Holm's correction, with intervals that say the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.reporting.crossed.analysis import Analysis, difference_of
from benchmarks.reporting.crossed.missing import worst_case


class Verdict(Enum):
    """What a comparison says about a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NO_LARGER = "no effect larger than the margin"
    NOT_DECIDED = "not decided"


@dataclass(frozen=True)
class Contrast:
    """A difference a - b without runs that have no value, and the same with each of them counted as the worst.

    What is asked of a contrast holds for both: p is the larger, an interval covers both intervals.
    """

    main: Analysis
    """Of the seeds and problems that have all values."""
    worst: Analysis
    """Where a run without a value counts as the worst finite value of both methods; `main` if none is missing."""
    missing: tuple[int, int]
    """Runs of a and of b without a value."""

    @property
    def p(self) -> float:
        """Two-sided, of no difference; 1 where the two analyses differ in sign."""
        p = _largest(found.p for found in self._both)
        return 1.0 if self.main.mean * self.worst.mean < 0 and not math.isnan(p) else p

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Lower and upper end of what covers both intervals; it excludes zero exactly where p < 1 - confidence."""
        lows, highs = zip(*(found.interval(confidence) for found in self._both), strict=True)
        return -_largest(-low for low in lows), _largest(highs)

    def no_larger_than(self, alpha: float = 0.05) -> float:
        """The smallest margin within which both are equivalent to zero."""
        return _largest(found.no_larger_than(alpha) for found in self._both)

    @property
    def _both(self) -> tuple[Analysis, ...]:
        return (self.main,) if self.worst is self.main else (self.main, self.worst)


def _largest(numbers: Iterable[float]) -> float:
    """NaN where one is."""
    found = list(numbers)
    return math.nan if any(map(math.isnan, found)) else max(found)


def contrast(a: ArrayLike, b: ArrayLike, *, higher_is_better: bool, same_seeds: bool = True) -> Contrast:
    """Compare two methods on the same problems.

    Args:
        a, b, same_seeds: as `difference_of` takes them. A seed whose run failed is a row of NaN.
        higher_is_better: of the values.

    Raises:
        ValueError: for shapes that do not fit.
    """
    main = difference_of(a, b, same_seeds=same_seeds)
    if not main.missing:
        return Contrast(main, main, (0, 0))
    tables = [np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)]
    without = [int(table.size - np.isfinite(table).sum()) for table in tables]
    worst = difference_of(*worst_case(tables, higher_is_better), same_seeds=same_seeds)
    return Contrast(main, worst, (without[0], without[1]))


@dataclass(frozen=True)
class Decision:
    """What a contrast says about its claim, within the claim's family."""

    verdict: Verdict
    p: float
    """Holm-corrected."""
    level: float
    """At which its step of Holm's procedure tests: p is below α exactly where the uncorrected one is below this."""
    low: float
    """Lower end of the simultaneous interval; an end at zero excludes zero where p is below α."""
    high: float
    no_larger_than: float
    """Farther end of the 90 % interval (1 - 2α); NaN where there is none."""
    equivalent: bool
    """`no_larger_than` is below the margin. A difference can be decided and yet be this small."""


def decide(
    contrasts: Sequence[Contrast], expected: Sequence[int], margins: Sequence[float], alpha: float = 0.05
) -> list[Decision]:
    """Decide every contrast of one family.

    Holm rejects "no difference" where the corrected p is below α, so that the chance of a false rejection in the family
    is at most α (S. Holm, Scand. J. Statist. 6, 1979). The intervals of k contrasts are Bonferroni's, at 1 - α / k;
    where Holm rejects and one still contains zero, it ends there. So they exclude zero where Holm rejects, and nowhere
    else; each contains the 1 - α interval; the chance that not all of them hold is at most 2α. Equivalence is not
    corrected: its margin is fixed beforehand.

    Args:
        contrasts: of the family; those without a p count for nothing.
        expected: the sign, 1 or -1, that the claim gives each difference.
        margins: below which a difference is practically nothing, one each, in its units.
        alpha: chance of a false rejection in the family.
    """
    p = np.array([found.p for found in contrasts], dtype=np.float64)
    corrected, levels, single = holm(p), _levels(p, alpha), alpha / max(int(np.isfinite(p).sum()), 1)
    verdicts = []
    for found, sign, margin, p_holm, level in zip(
        contrasts, expected, margins, corrected.tolist(), levels, strict=True
    ):
        rejected, (low, high) = p_holm < alpha, found.interval(1 - single)
        if rejected:
            low, high = (max(low, 0.0), high) if found.main.mean > 0 else (low, min(high, 0.0))
        bound = found.no_larger_than(alpha)
        verdict = _verdict(rejected, found.main.mean * sign > 0, bound < margin)
        verdicts.append(Decision(verdict, p_holm, level, low, high, bound, bound < margin))
    return verdicts


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's step-down correction of the p-values of one family.

    Args:
        p: [n]; NaN where there is none, which counts for nothing and stays NaN.

    Returns:
        [n], at least `p` and at most 1: those below α are rejected with a family-wise error rate of at most α.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN is sorted last
    corrected = np.full(p.shape, np.nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return corrected


def _verdict(rejected: bool, as_claimed: bool, equivalent: bool) -> Verdict:
    if rejected:
        return Verdict.SUPPORTED if as_claimed else Verdict.CONTRADICTED
    return Verdict.NO_LARGER if equivalent else Verdict.NOT_DECIDED


def _levels(p: np.ndarray, alpha: float) -> list[float]:
    """Of the step that decides each p in Holm's procedure; equal p share the strictest."""
    ordered = np.sort(p[np.isfinite(p)])
    rejected = int((holm(ordered) < alpha).sum())
    before = np.minimum(np.searchsorted(ordered, p), rejected)  # NaN is searched last
    return (alpha / np.maximum(len(ordered) - before, 1)).tolist()
