"""Intervals and paired comparisons of accuracies (all two-sided; see docs/tables.md for how tables use them)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

_NORMAL = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its confidence interval; the half-width of a single value is NaN."""

    mean: float
    half_width: float
    n: int


@dataclass(frozen=True)
class PairedDifference(Interval):
    """The mean of a - b over n pairs, its interval, and the p-value of Wilcoxon's signed-rank test."""

    p: float


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of a mean.

    Args:
        values: [n], finite.
        confidence: coverage of the interval.

    Raises:
        ValueError: where a value is not finite: a failure is never averaged.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"a mean needs a non-empty list of finite values, not shape {values.shape} with non-finite ones"
        )
    n = len(values)
    if n == 1:
        return Interval(float(values[0]), float("nan"), 1)
    half_width = _critical(confidence, n) * values.std(ddof=1) / np.sqrt(n)
    return Interval(float(values.mean()), float(half_width), n)


@cache
def _critical(confidence: float, n: int) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, n - 1))


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> PairedDifference:
    """Compare two methods on the same episodes.

    Args:
        a, b: [n], one value a pair; finite.
        confidence: coverage of the interval.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    interval = mean_interval(difference, confidence)
    return PairedDifference(interval.mean, interval.half_width, interval.n, signed_rank(difference))


def signed_rank(difference: np.ndarray) -> float:
    """The p-value of Wilcoxon's signed-rank test that differences [n], finite, are symmetric about zero."""
    if not difference.any():
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few pairs, or ties: scipy says so and uses the normal approximation
        result: Any = stats.wilcoxon(difference)
        return float(result.pvalue)


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


def power(effect: float, n: int, alpha: float = 0.05) -> float:
    """Probability that the two-sided paired t-test of n pairs rejects at level alpha.

    Args:
        effect: the true mean difference over the standard deviation of the differences.
        n: pairs, at least 2.
    """
    shift = abs(effect) * np.sqrt(n)
    if n > _NORMAL:  # where the noncentral t is slow and indistinguishable from it
        critical = stats.norm.ppf(1 - alpha / 2)
        return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    lower = stats.nct.cdf(-critical, n - 1, shift) if shift < 5 else 0.0  # nothing; scipy's is NaN farther out
    return float(stats.nct.sf(critical, n - 1, shift) + lower)


def pairs_needed(effect: float, target: float = 0.8, alpha: float = 0.05, largest: int = 10**9) -> int | None:
    """Fewest pairs with which the two-sided paired t-test has the power `target`.

    Returns:
        At least 2; None where the effect is zero or not finite, or more than `largest` pairs would be needed.
    """
    if not np.isfinite(effect) or effect == 0 or power(effect, largest, alpha) < target:
        return None
    low, high = _bracket(effect, target, alpha, largest)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(effect, middle, alpha) < target else (low, middle)
    return high


def _bracket(effect: float, target: float, alpha: float, largest: int) -> tuple[int, int]:
    """(too few pairs, enough pairs), close around the normal approximation, whose power costs nothing."""
    normal = (stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(target)) / abs(effect)
    guess, step = int(min(max(normal**2, 2), largest)), 2
    if power(effect, guess, alpha) < target:
        low = guess
        while power(effect, high := min(low + step, largest), alpha) < target:
            low, step = high, 2 * step
        return low, high
    high = guess
    while (low := max(high - step, 1)) > 1 and power(effect, low, alpha) >= target:
        high, step = low, 2 * step
    return low, high
