"""Means and differences over seeds and test problems at once: interval, p and equivalence of one variance.

The model is y_ij = μ + a_i + b_j + e_ij, with a_i the effect of a seed of meta-training, b_j that of a test problem
and e_ij what is left of a cell, all random. The mean squares MS_S, MS_P and MS_SP give the variance of the mean (MS_S
+ MS_P - MS_SP) / (S E), with Satterthwaite's degrees of freedom (F. E. Satterthwaite, An approximate distribution of
estimates of variance components, Biometrics Bulletin 2, 1946; for crossed samples of people and stimuli: Judd,
Westfall, Kenny, J. Pers. Soc. Psychol. 103, 2012).

In arguments, values [seeds, problems] are of a method that is trained once a seed; values [problems] are of a method
without seeds, such as a hand-designed optimizer, which is deterministic given the problem. What is not finite is a
run without a value: it diverged, or, where a whole seed is, failed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from benchmarks.reporting.crossed.missing import complete

Spread = tuple[float, float]
"""A variance of the mean, and its degrees of freedom."""


@dataclass(frozen=True)
class Side:
    """What two or more seeds of one method tell about seeds."""

    seeds: int
    seed: float
    """Mean square of seeds, MS_S."""
    interaction: float
    """Mean square of seeds × problems, MS_SP; NaN for a single problem."""


@dataclass(frozen=True)
class Components:
    """Variances of single effects; NaN where the design cannot tell them apart, never below zero."""

    seeds: tuple[float, ...]
    """Of a_i, one a side; of a single problem: with its e_ij."""
    problems: float
    """Of b_j; without a side of several seeds: with its e_ij."""
    interaction: tuple[float, ...]
    """Of e_ij, one a side."""


@dataclass(frozen=True)
class Analysis:
    """A mean, or a mean difference, and how far it may be off.

    Without a variance (a single cell, or none) half-width and p are NaN, and nothing is equivalent.
    """

    mean: float
    """NaN where no problem has a value of every seed."""
    problems: int
    """On which every seed that counts has a value."""
    sides: tuple[Side, ...]
    """Of methods with two or more seeds: one for a mean or a difference of the same seeds, two for unrelated seeds."""
    between: float
    """Variance, between problems, of values averaged over seeds; NaN for a single problem."""
    spreads: tuple[Spread, ...]
    """One, or, where the floor holds, that of seeds and that of problems: intervals are the widest of all, p the
    largest."""
    one_model: bool
    """A method that has seeds is there with a single one: other seeds may say otherwise."""
    missing: int
    """Cells without a value; of a difference of the same seeds, pairs of cells."""
    seeds_left_out: int
    """Seeds set aside, as `missing.complete` does."""
    problems_left_out: int
    """Problems on which a seed that counts has no value."""

    @property
    def over(self) -> str:
        """What the interval is over: "seeds and problems", "seeds", "problems", or "" where there is none."""
        names = ["seeds"] * bool(self.sides) + ["problems"] * (self.problems > 1)
        return " and ".join(names) if self.spreads else ""

    @property
    def p(self) -> float:
        """Two-sided, of a mean of zero; below α exactly where the interval at 1 - α excludes zero."""
        return max((2 * _tail(-abs(self.mean), *spread) for spread in self.spreads), default=math.nan)

    def half_width(self, confidence: float = 0.95) -> float:
        """Of the interval of the mean."""
        level = (1 + confidence) / 2
        halves = (float(stdtrit(df, level)) * math.sqrt(variance) for variance, df in self.spreads)
        return max(halves, default=math.nan)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Lower and upper end."""
        half = self.half_width(confidence)
        return self.mean - half, self.mean + half

    def no_larger_than(self, alpha: float = 0.05) -> float:
        """The smallest margin within which the mean is equivalent to zero: the farther end of the 1 - 2α interval."""
        return abs(self.mean) + self.half_width(1 - 2 * alpha)

    def equivalent(self, margin: float, alpha: float = 0.05) -> bool:
        """Whether the 1 - 2α interval lies inside ±margin; False where there is none."""
        return self.no_larger_than(alpha) < margin

    def p_equivalence(self, margin: float) -> float:
        """Of two one-sided tests that the mean is at or beyond ±margin; below α exactly where `equivalent`.

        As D. J. Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987.
        """
        return max((_tail(abs(self.mean) - margin, *spread) for spread in self.spreads), default=math.nan)

    def components(self) -> Components:
        """How much seeds, problems and their interaction vary, from expected mean squares."""
        if self.problems == 1:
            return Components(tuple(side.seed for side in self.sides), math.nan, (math.nan,) * len(self.sides))
        averaged = sum(side.interaction / side.seeds for side in self.sides)
        return Components(
            tuple(max((side.seed - side.interaction) / self.problems, 0.0) for side in self.sides),
            max(self.between - averaged, 0.0),
            tuple(side.interaction for side in self.sides),
        )


def mean_of(values: ArrayLike) -> Analysis:
    """The mean of a method.

    Args:
        values: [seeds, problems]; [problems] of a method without seeds.

    Raises:
        ValueError: for other shapes.
    """
    return _analysis([_table(values)])


def difference_of(a: ArrayLike, b: ArrayLike, *, same_seeds: bool = True) -> Analysis:
    """The mean of a - b on the same problems.

    A method without seeds adds no variance of seeds: its differences to another one are as those of the same seeds.
    Neither does a single seed, which says so in `one_model`.

    Args:
        a, b: [seeds, problems], or [problems] of a method without seeds.
        same_seeds: row i of both is of one seed, so that differences are taken seed by seed; else seeds are unrelated,
            and may differ in number.

    Raises:
        ValueError: for other shapes, or those that do not fit.
    """
    a, b = _table(a), _table(b)
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"{a.shape[-1]} problems against {b.shape[-1]}: a difference needs the same problems")
    if same_seeds and a.ndim == b.ndim == 2 and len(a) != len(b):
        raise ValueError(f"{len(a)} seeds against {len(b)}: differences seed by seed need the same seeds")
    if same_seeds or a.ndim == 1 or b.ndim == 1:
        with np.errstate(invalid="ignore"):  # inf - inf: neither is a value
            return _analysis([a - b])
    return _analysis([a, b])


def _table(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"values must be [seeds, problems] or [problems] and not empty, not of shape {values.shape}")
    return values


def _analysis(tables: Sequence[np.ndarray]) -> Analysis:
    """Of one table, or of the difference of two whose seeds are unrelated."""
    kept = complete([np.atleast_2d(table) for table in tables])
    problems = kept[0].shape[1]
    by_problem = kept[0].mean(axis=0) - (kept[1].mean(axis=0) if len(kept) > 1 else 0.0)
    sides = tuple(_side(table) for table in kept if len(table) > 1) if problems else ()
    between = _variance(by_problem) if problems > 1 else math.nan
    return Analysis(
        mean=float(by_problem.mean()) if problems else math.nan,
        problems=problems,
        sides=sides,
        between=between,
        spreads=_spreads(sides, problems, between),
        one_model=any(table.ndim == 2 and len(rows) == 1 for table, rows in zip(tables, kept, strict=True)),
        missing=sum(int(table.size - np.isfinite(table).sum()) for table in tables),
        seeds_left_out=sum(len(np.atleast_2d(table)) - len(rows) for table, rows in zip(tables, kept, strict=True)),
        problems_left_out=tables[0].shape[-1] - problems,
    )


def _side(table: np.ndarray) -> Side:
    seeds, problems = table.shape
    by_seed = table.mean(axis=1)
    seed = problems * _variance(by_seed)
    if problems == 1:
        return Side(seeds, seed, math.nan)
    left = table - by_seed[:, None] - (table.mean(axis=0) - by_seed.mean())
    return Side(seeds, seed, float(np.vdot(left, left)) / ((seeds - 1) * (problems - 1)))


def _variance(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float(centred @ centred) / (len(values) - 1)


def _spreads(sides: Sequence[Side], problems: int, between: float) -> tuple[Spread, ...]:
    seed_terms = [(side.seed / (side.seeds * problems), side.seeds - 1) for side in sides]
    if problems < 2:
        return (satterthwaite(seed_terms),) if sides else ()
    problem = (between / problems, problems - 1)
    if not sides:
        return (problem,)
    interactions = [(-side.interaction / (side.seeds * problems), (side.seeds - 1) * (problems - 1)) for side in sides]
    whole, seed = satterthwaite([*seed_terms, problem, *interactions]), satterthwaite(seed_terms)
    return (whole,) if whole[0] >= max(seed[0], problem[0]) else (seed, problem)


def satterthwaite(terms: Sequence[tuple[float, float]]) -> Spread:
    """The sum of independent terms (multiple of a mean square, degrees of freedom), and its degrees of freedom."""
    total = sum(term for term, _ in terms)
    if total == 0 or len(terms) == 1:
        return total, min(df for _, df in terms)
    return total, 1 / sum((term / total) ** 2 / df for term, df in terms)


def _tail(distance: float, variance: float, df: float) -> float:
    """P(mean - μ ≤ distance); of a variance of zero: half, where the distance is zero too."""
    if not variance:
        return 0.5 if distance == 0 else float(distance > 0)
    return float(stdtr(df, distance / math.sqrt(variance)))
