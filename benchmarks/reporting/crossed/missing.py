"""Runs without a value: what is analysed without them, and what they count as where they count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def complete(tables: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The seeds and problems with a value in every cell; the choice depends on where values are, never on which.

    A seed is set aside where it has less than half as many values as the seed of its table that has most; of the
    others, the problems stay on which all of them, of all tables, have a value.

    Args:
        tables: [seeds, problems], of the same problems; what is not finite is no value.
    """
    finite = [np.isfinite(table) for table in tables]
    if all(found.all() for found in finite):
        return list(tables)
    seeds = [2 * found.sum(axis=1) >= found.sum(axis=1).max() for found in finite]
    problems = np.logical_and.reduce([found[kept].all(axis=0) for found, kept in zip(finite, seeds, strict=True)])
    return [table[kept][:, problems] for table, kept in zip(tables, seeds, strict=True)]


def worst_case(tables: Sequence[np.ndarray], higher_is_better: bool) -> list[np.ndarray]:
    """The same tables, in which a cell without a value has the worst value of all tables.

    Args:
        tables: of any shapes; what is not finite is no value.
        higher_is_better: of the values.
    """
    finite = np.concatenate([table[np.isfinite(table)] for table in tables])
    worst = (finite.min() if higher_is_better else finite.max()) if len(finite) else np.nan
    return [np.where(np.isfinite(table), table, worst) for table in tables]
