"""Intervals and paired comparisons of accuracies (all two-sided; see docs/tables.md for how tables use them)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


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
    half_width = stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return Interval(float(values.mean()), float(half_width), n)


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> PairedDifference:
    """Compare two methods on the same episodes.

    Args:
        a, b: [n], one value a pair; finite.
        confidence: coverage of the interval.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    interval = mean_interval(difference, confidence)
    return PairedDifference(interval.mean, interval.half_width, interval.n, _wilcoxon(difference))


def _wilcoxon(difference: np.ndarray) -> float:
    if not difference.any():
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few pairs, or ties: scipy says so and uses the normal approximation
        result: Any = stats.wilcoxon(difference)
        return float(result.pvalue)
