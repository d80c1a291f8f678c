"""Tables of seeds × problems, drawn or made to have given mean squares."""

from __future__ import annotations

import numpy as np

DESIGNS = (
    (5, 25, 0.6, 0.3, 1.0),
    (3, 25, 0.6, 1.5, 1.0),
    (5, 25, 0.0, 0.5, 1.0),
    (5, 25, 0.0, 0.0, 1.0),
    (3, 600, 0.6, 0.3, 10.0),
    (2, 25, 0.5, 0.5, 1.0),
)
"""Seeds, problems, and standard deviations of the effects of seeds, of problems, and of what is left."""


def generator(key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key))


def draw(rng, n, seeds, problems, seed_sd, problem_sd, rest_sd):
    """[n, seeds, problems] of mean zero."""
    return (
        seed_sd * rng.normal(size=(n, seeds, 1))
        + problem_sd * rng.normal(size=(n, 1, problems))
        + rest_sd * rng.normal(size=(n, seeds, problems))
    )


def table_of(mean, seed, problem, rest, seeds=5, problems=25, key=0):
    """[seeds, problems] with exactly this mean and these mean squares of seeds, problems and their interaction."""
    values = draw(generator(key), 1, seeds, problems, 1, 1, 1)[0]
    rows, columns = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    left = values - rows - columns + values.mean()
    rows, columns = rows - rows.mean(), columns - columns.mean()
    rows *= np.sqrt(seed * (seeds - 1) / problems / (rows**2).sum())
    columns *= np.sqrt(problem * (problems - 1) / seeds / (columns**2).sum())
    left *= np.sqrt(rest * (seeds - 1) * (problems - 1) / (left**2).sum())
    return mean + rows + columns + left
