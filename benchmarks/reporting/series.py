"""Curves of many runs as one line: a mean with its 95 % band, at few enough points to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from benchmarks.reporting.drawn import Series

POINTS = 200
"""Points of a drawn line; more than a screen or a page can show apart only cost bytes."""
LONG = 2000
"""Steps from which on a linear axis would hide the start."""


@dataclass(frozen=True)
class Band:
    """What `Series` says about numbers alone."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int


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
        half = stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
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


def thin(series: Series, points: int = POINTS, log: bool = False) -> Series:
    """The series at no more than `points` of its points."""
    keep = thinned(series.x, points, log)
    return replace(series, **{name: getattr(series, name)[keep] for name in ("x", "mean", "low", "high")})


def optimizee_curve(records: Sequence[Mapping[str, Any]], metric: str) -> tuple[Band, str, str] | None:
    """A metric of the tested optimizees over their steps, from general-track records of one configuration.

    With several seeds (meta-trainings), initializations are averaged within each, and the band is over seeds; with one,
    it is over initializations.

    Args:
        records: finished ones, one a seed.
        metric: train_loss, test_loss, train_accuracy or test_accuracy.

    Returns:
        The band, its unit, and a note where runs diverged; None where the task has no such metric.
    """
    by_seed = [[run for run in record["test"]["best"]["runs"] if run.get(metric)] for record in records]
    by_seed = [runs for runs in by_seed if runs]
    if not by_seed:
        return None
    curves = [[(run["step"][: len(run[metric])], run[metric]) for run in runs] for runs in by_seed]
    runs = [run for runs in by_seed for run in runs]
    diverged = sum(run["diverged_at"] is not None for run in runs)
    note = f"{diverged} of {len(runs)} runs diverged" if diverged else ""
    if len(curves) == 1:
        return band(curves[0]), "initializations", note
    means = [band(seed) for seed in curves]
    return band([(mean.x, mean.mean) for mean in means]), "seeds", note


def training_curve(records: Sequence[Mapping[str, Any]], name: str, source: str = "curve") -> Band | None:
    """A scalar of meta-training over episodes or unrolls, band over seeds; None where no record has it.

    Args:
        records: of one configuration, one a seed.
        name: of the scalar, such as loss, accuracy or step_size.
        source: curve (averaged over neighbouring steps until few enough points are left) or validation.
    """
    curves = []
    for record in records:
        points = [point for point in record.get("training", {}).get(source, ()) if _usable(point.get(name), name)]
        if points:
            clock = "episode" if "episode" in points[0] else "unroll"
            curves.append(([p[clock] for p in points], [p[name] for p in points]))
    if not curves:
        return None
    x, values = _common(curves)
    return band([averaged(x, y) for y in values]) if len(x) else None


def _usable(value: float | None, name: str) -> bool:
    """A failed validation is recorded as an accuracy of -1."""
    return value is not None and not (name == "accuracy" and value < 0)
