"""Interval and p of a row, of a difference, and of a family of differences: the one place that chooses how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.reporting.statistics import Interval, PairedDifference, holm, mean_interval, pairs_needed, signed_rank


@dataclass(frozen=True)
class Difference(PairedDifference):
    """A paired difference of two rows: its interval is over n units, its p over pairs (averaged over seeds)."""

    unit: str
    """ "episodes", "initializations" or "seeds"."""
    dropped: int
    """Pairs left out because one of the two diverged."""


def of_row(by_seed: Sequence[np.ndarray]) -> Interval | None:
    """Over problems for one seed, over the seeds' means for several; of what did not diverge (None: nothing).

    Args:
        by_seed: values [problems] of each seed, NaN where a test run diverged.
    """
    finite = [values[np.isfinite(values)] for values in by_seed]
    finite = [values for values in finite if len(values)]
    if not finite:
        return None
    return mean_interval(finite[0] if len(finite) == 1 else [values.mean() for values in finite])


def pooled(by_seed: Sequence[np.ndarray]) -> Interval | None:
    """Over all problems of all seeds that did not diverge, as if they were one sample (None: nothing)."""
    return of_row([np.concatenate([np.empty(0), *by_seed])])


def of_difference(pairs: np.ndarray, problem: str) -> Difference | None:
    """Over problems for one seed, over seeds for several; p is over problems, with differences averaged over seeds.

    Args:
        pairs: differences [seeds, problems], NaN where one of the two diverged.
        problem: what a problem is called.

    Returns:
        None where no pair is left.
    """
    interval = of_row(list(pairs))
    if interval is None:
        return None
    finite = np.isfinite(pairs)
    kept = finite.any(axis=0)
    means = np.where(finite, pairs, 0.0).sum(axis=0)[kept] / finite.sum(axis=0)[kept]
    unit = "seeds" if finite.any(axis=1).sum() > 1 else problem
    dropped = int((~finite).sum())
    return Difference(interval.mean, interval.half_width, interval.n, signed_rank(means), unit, dropped)


def corrected(family: Sequence[Difference]) -> np.ndarray:
    """p of each difference of a family, Holm-corrected."""
    return holm([difference.p for difference in family])


def more_needed(difference: Difference) -> int | None:
    """How many more units would show the difference at 80 % power if it were the true one.

    Returns:
        0 where it is decided; None where that cannot be told: a difference of zero, or a single unit.
    """
    mean, half_width, n = difference.mean, difference.half_width, difference.n
    if n < 2:
        return None
    if abs(mean) > half_width:
        return 0
    deviation = half_width * np.sqrt(n) / stats.t.ppf(0.975, n - 1)
    needed = pairs_needed(mean / deviation) if deviation else None
    return needed and max(needed - n, 0)
