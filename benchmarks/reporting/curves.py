"""Curves of many runs as one line: a mean with its 95 % band, at few enough points to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from benchmarks.running.schema import Point, TestRun

POINTS = 200
"""Points of a drawn line; more than a screen or a page can show apart only cost bytes."""
LONG = 2000
"""Steps from which on a linear axis would hide the start."""


@dataclass(frozen=True, eq=False)
class Band:
    """A mean over runs and its 95 % interval, all [points]."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    """Lower end; NaN where a single run gives none."""
    high: np.ndarray
    n: int
    """Units averaged."""
    unit: str = ""
    """What they are: seeds or initializations."""
    ended: str = ""
    """Why the line ends before the others, such as "2 of 5 runs diverged"."""


Curve = tuple[ArrayLike, ArrayLike]
"""x [points], ascending, and y [points]."""


def band(curves: Sequence[Curve], confidence: float = 0.95) -> Band:
    """Mean and t interval over curves, where all of them have a point.

    A curve that ends early ends the mean with it: to go on with the survivors would flatter the method that diverged.

    Args:
        curves: one a unit; their x may differ, only common ones count.
        confidence: coverage of the band at each point.
    """
    x, values = _common(curves)
    n, mean = len(values), values.mean(axis=0)
    if n == 1:
        half = np.full_like(mean, np.nan)
    else:
        half = stdtrit(n - 1, (1 + confidence) / 2) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return Band(x, mean, mean - half, mean + half, n)


def _common(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """The x that all curves have, and their values there [curves, points]."""
    grids = [np.asarray(x, dtype=np.float64) for x, _ in curves]
    x = reduce(np.intersect1d, grids)
    values = [np.asarray(y, dtype=np.float64) for _, y in curves]
    return x, np.stack([y[np.searchsorted(grid, x)] for grid, y in zip(grids, values, strict=True)])


def thinned(x: np.ndarray, points: int = POINTS, log: bool = False) -> np.ndarray:
    """Indices of at most `points` of `x`, first and last among them, evenly spread along the axis that shows them."""
    if len(x) <= points:
        return np.arange(len(x))
    if not log:
        return np.unique(np.linspace(0, len(x) - 1, points).round().astype(int))
    wanted = np.geomspace(max(x[0], 1.0), x[-1], points)
    return np.unique(np.concatenate([[0], np.searchsorted(x, wanted).clip(0, len(x) - 1), [len(x) - 1]]))[-points:]


def averaged(x: ArrayLike, y: ArrayLike, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Means of as many neighbours as leave at most `points`; x is that of the last one of each window."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    width = -(-len(x) // points)
    if width <= 1:
        return x, y
    starts = np.arange(0, len(x), width)
    sizes = np.diff(np.append(starts, len(x)))
    return x[starts + sizes - 1], np.add.reduceat(y, starts) / sizes


def thin(line: Band, points: int = POINTS) -> Band:
    """The line at no more than `points` of its points, spread along the axis that shows them."""
    keep = thinned(line.x, points, log=bool(line.x[-1] >= LONG))
    return replace(line, **{name: getattr(line, name)[keep] for name in ("x", "mean", "low", "high")})


def optimizee_curve(tests: Sequence[Sequence[TestRun]], metric: str) -> Band | None:
    """A metric of the tested optimizees over their steps.

    With several seeds (meta-trainings), initializations are averaged within each, and the band is over seeds; with one,
    it is over initializations.

    Args:
        tests: of each seed, the trainings of one configuration.
        metric: train_loss, test_loss, train_accuracy or test_accuracy.

    Returns:
        None where no training has the metric.
    """
    by_seed = [[run for run in runs if getattr(run, metric)] for runs in tests]
    by_seed = [runs for runs in by_seed if runs]
    if not by_seed:
        return None
    curves = [[(run.step[: len(getattr(run, metric))], getattr(run, metric)) for run in runs] for runs in by_seed]
    ends = [run.diverged_at is not None for runs in by_seed for run in runs]
    note = f"{sum(ends)} of {len(ends)} runs diverged" if any(ends) else ""
    if len(curves) == 1:
        return replace(band(curves[0]), unit="initializations", ended=note)
    means = [band(seed) for seed in curves]
    return replace(band([(mean.x, mean.mean) for mean in means]), unit="seeds", ended=note)


def training_curve(curves: Sequence[Sequence[Point]], clock: str, name: str) -> Band | None:
    """A scalar of meta-training, averaged over neighbouring points until few enough are left; band over seeds.

    Args:
        curves: of each seed of one configuration.
        clock: what x counts, a member of each point.
        name: of the scalar, such as loss, accuracy or step_size.

    Returns:
        None where no curve has it.
    """
    found = []
    for points in curves:
        usable = [point for point in points if _usable(point.get(name), name)]
        if usable:
            found.append(([p[clock] for p in usable], [p[name] for p in usable]))
    if not found:
        return None
    x, values = _common(found)
    return replace(band([averaged(x, y) for y in values]), unit="seeds") if len(x) else None


def _usable(value: float | None, name: str) -> bool:
    """A failed validation is recorded as an accuracy of -1."""
    return value is not None and not (name == "accuracy" and value < 0)


def histogram(values: np.ndarray, bins: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Edges [bins + 1] from 0 to 100 %, and the share of episodes in each bin in %, [bins]."""
    counts, edges = np.histogram(np.clip(values, 0, 100), bins=bins, range=(0, 100))
    return edges, 100 * counts / max(len(values), 1)
