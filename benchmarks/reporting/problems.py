"""The value on every single test problem, as a table for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reporting.rows import Row
from benchmarks.reporting.tables import COLUMNS


def to_problems(rows: Sequence[Row]) -> pd.DataFrame:
    """A line a seed and test problem, in the order of `rows`.

    Columns: track and `tables.COLUMNS`, settings (which tells apart rows of equal labels); test, the hash of the test
    problems, equal where values may be paired; seed, of meta-training; problem (episode or initialization) and its
    number, from 0; metric and value, accuracies in %. A failed run has no lines, a test run that diverged no value.
    """
    parts = [_of_seed(row, seed, values) for row in rows for seed, values in row.values.items()]
    names = ["track", *COLUMNS, "settings", "test", "seed", "problem", "number", "metric", "value"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def _of_seed(row: Row, seed: int, values: np.ndarray) -> pd.DataFrame:
    same: dict[str, Any] = {"track": row.track, **{name: row.labels.get(name, "") for name in COLUMNS}}
    same |= {"settings": row.settings, "test": row.hashes["test"], "seed": seed, "problem": row.problem[:-1]}
    return pd.DataFrame({**same, "number": np.arange(len(values)), "metric": row.metric, "value": values})
