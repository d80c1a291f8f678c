"""The numbers of the tables, a line a row; `render_text` makes text of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reporting.compare import Comparison, best_rows, compare
from benchmarks.reporting.published import published, table_of
from benchmarks.reporting.rows import Row
from benchmarks.reporting.statistics import Interval
from fewshot.errors import InputError, one_of

_NOTHING = Interval(float("nan"), float("nan"), 0)
COLUMNS = ("dataset", "task", "source", "way", "shot", "method", "regularizer")
"""Labels of both tracks as columns of a frame; the optimizer of a general row is its method."""
FILTERS = ("table", "track", *COLUMNS, "metric")


def to_frame(rows: Sequence[Row], comparisons: Sequence[Comparison] | None = None) -> pd.DataFrame:
    """The numbers of a table, a line a row, in the order of `rows`; NaN or "" where there is none.

    Columns: table, track, `COLUMNS`, pixels (what prepared images are, where records say it), transductive; metric,
    value and half_width over n units, unit (problems or seeds); problem (episodes or initializations) and how many
    problems, seeds, failed, diverged; pooled_half_width over all problems; paper and paper_spread, as published;
    difference to the plain partner, its half_width, n, unit and dropped pairs, p, holm, more (see `Comparison`);
    best; settings, which tells apart rows of equal labels. Accuracies are in %, differences in percentage points.

    Args:
        rows: of `read.load`.
        comparisons: of `compare.compare`; made where None.
    """
    found = {c.row.key: c for c in (compare(rows) if comparisons is None else comparisons)}
    best = best_rows(rows)
    lines = [
        {**_numbers(row), **_comparison(found.get(row.key)), "best": row.key in best, "settings": row.settings}
        for row in rows
    ]
    return pd.DataFrame(lines)


def _numbers(row: Row) -> dict[str, Any]:
    paper = published(row)
    interval, pooled = row.interval or _NOTHING, row.pooled or _NOTHING
    return {
        "table": table_of(row),
        "track": row.track,
        **{name: row.labels.get(name, "") for name in COLUMNS},
        **_pixels(row),
        "transductive": row.transductive,
        "metric": row.metric,
        "value": interval.mean,
        "half_width": interval.half_width,
        "n": interval.n,
        "unit": row.unit,
        "problem": row.problem,
        "problems": row.problems,
        "seeds": len(row.values),
        "failed": row.failed,
        "diverged": row.diverged,
        "pooled_half_width": pooled.half_width,
        "paper": paper.mean if paper else np.nan,
        "paper_spread": paper.spread if paper else np.nan,
    }


def _pixels(row: Row) -> dict[str, str]:
    """What prepared images are beside the published ones; nothing of records that do not say it."""
    pixels = {record.facts.dataset.pixels for record in row.records.values()} - {""}
    return {"pixels": " or ".join(sorted(pixels))} if pixels else {}


def _comparison(comparison: Comparison | None) -> dict[str, Any]:
    if comparison is None:
        numbers = dict.fromkeys(("difference", "difference_half_width", "p", "holm", "more"), np.nan)
        return {**numbers, "difference_n": 0, "difference_unit": "", "dropped": 0}
    difference = comparison.difference
    return {
        "difference": difference.mean,
        "difference_half_width": difference.half_width,
        "p": difference.p,
        "holm": comparison.p,
        "more": np.nan if comparison.more is None else comparison.more,
        "difference_n": difference.n,
        "difference_unit": difference.unit,
        "dropped": difference.dropped,
    }


def select(frame: pd.DataFrame, where: Sequence[str]) -> pd.DataFrame:
    """The lines that fit conditions "column=value": any of those on one column, all columns.

    Raises:
        InputError: for a condition of another form, an unknown column, or a value that no line has.
    """
    wanted: dict[str, list[str]] = {}
    for condition in where:
        column, found, value = condition.partition("=")
        if not found:
            raise InputError(f"--where {condition!r} is no condition; write column=value, such as shot=1")
        one_of("column of --where", column, FILTERS)
        wanted.setdefault(column, []).append(value)
    for column, values in wanted.items() if not frame.empty else ():
        texts = frame[column].astype(str)
        for value in values:
            one_of(f"{column} of --where", value, sorted(set(texts)))
        frame = frame.take(np.flatnonzero(texts.isin(values)))
    return frame


def sort(frame: pd.DataFrame, column: str, reverse: bool = False) -> pd.DataFrame:
    """The lines sorted by a column; lines equal in it keep their order, those without a value come last.

    Raises:
        InputError: for an unknown column.
    """
    if frame.empty:
        return frame
    one_of("column of --sort", column, frame.columns)
    return frame.sort_values(column, ascending=not reverse, kind="stable", key=_sortable)


def _sortable(column: pd.Series) -> pd.Series:
    return column if column.dtype != object else column.map(lambda value: f"{value:>12}")
