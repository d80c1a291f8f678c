"""What would decide an undecided difference: more seeds, or more test problems, or neither."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.special import chdtr, nctdtr, stdtrit

from benchmarks.reporting.crossed.analysis import Analysis, Components, Spread, satterthwaite

_FAR, _NORMAL = 30.0, 1e9
"""Shift and degrees of freedom beyond which the noncentral t is not needed, and scipy's fails."""


@dataclass(frozen=True)
class More:
    """Fewest more of one, the other kept, that would show a difference if it is the true one.

    None where that cannot be told, as of seeds from a single one; infinite where no number would.
    """

    seeds: float | None
    """Of each method that has several."""
    problems: float | None


def more_needed(analysis: Analysis, target: float = 0.8, alpha: float = 0.05, largest: int = 10**6) -> More:
    """How many more seeds, or how many more problems, give the two-sided test the power `target`.

    The difference, and the variances of seeds, problems and their interaction, are taken as estimated. More problems
    cannot help where seeds alone vary too much, nor more seeds where problems do.

    Args:
        analysis: of the difference.
        target: the chance of p < alpha.
        alpha: level of the test; of a family, that of the decision.
        largest: of more, none counts.
    """
    effect, parts = abs(analysis.mean), analysis.components()
    if not analysis.spreads or not effect:
        return More(None, None)

    def fewest(larger: Callable[[int], Spread]) -> float:
        if rejection_rate(effect, (larger(largest)[0], math.inf), alpha) < target:
            return math.inf
        return _fewest(lambda n: rejection_rate(effect, larger(n), alpha) >= target, largest)

    return More(
        fewest(lambda n: planned(analysis, parts, n, analysis.problems)) if analysis.sides else None,
        fewest(lambda n: planned(analysis, parts, 0, analysis.problems + n)) if analysis.problems > 1 else None,
    )


def planned(analysis: Analysis, parts: Components, more_seeds: int, problems: int) -> Spread:
    """The variance of the mean that a larger design is expected to have, and its degrees of freedom.

    Args:
        analysis: of the design at hand.
        parts: its components of variance.
        more_seeds: of each side.
        problems: all of them; 1 where `analysis` has one.
    """
    counts = [side.seeds + more_seeds for side in analysis.sides]
    if analysis.problems == 1:
        return satterthwaite([(seed / n, n - 1) for seed, n in zip(parts.seeds, counts, strict=True)])
    terms, between = [], parts.problems
    for seed, rest, n in zip(parts.seeds, parts.interaction, counts, strict=True):
        between += rest / n
        terms.append(((rest / problems + seed) / n, n - 1))
        terms.append((-rest / (n * problems), (n - 1) * (problems - 1)))
    return satterthwaite([*terms, (between / problems, problems - 1)])


def rejection_rate(effect: float, spread: Spread, alpha: float = 0.05) -> float:
    """The chance that a true mean of `effect`, not negative, is told from zero in its own direction."""
    variance, df = spread
    if variance <= 0:
        return 1.0 if effect else alpha / 2
    df = min(df, _NORMAL)
    shift, critical = effect / math.sqrt(variance), float(stdtrit(df, 1 - alpha / 2))
    if shift > _FAR:  # the estimate of its variance decides alone
        return float(chdtr(df, df * (shift / critical) ** 2))
    return 1 - float(nctdtr(df, shift, critical))


def _fewest(enough: Callable[[int], bool], largest: int) -> float:
    """By doubling and bisection: at least 1; infinite where `largest` is not enough."""
    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
        if low >= largest:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
