"""The numbers of the tables, a line a row; `render` makes text of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reporting.compare import Comparison, compare, table_of
from benchmarks.reporting.published import published
from benchmarks.reporting.rows import Row
from benchmarks.reporting.runs import LABELS
from benchmarks.reporting.statistics import Interval
from fewshot.errors import InputError, one_of

_NOTHING = Interval(float("nan"), float("nan"), 0)
COLUMNS = ("dataset", "task", "source", "way", "shot", "method", "regularizer")
"""Labels of both tracks as columns of a frame; the optimizer of a general row is its method."""
FILTERS = ("table", "track", *COLUMNS, "metric")


def to_frame(rows: Sequence[Row], comparisons: Sequence[Comparison] | None = None) -> pd.DataFrame:
    """The numbers of a table, a line a row, in the order of `rows`; NaN or "" where there is none.

    Columns: table, track, `COLUMNS`, pixels (what prepared images are, where the record says it), transductive;
    metric, value and half_width over n units, unit (problems or seeds); problem (episodes or initializations) and how
    many problems, seeds, failed, diverged; pooled_half_width over all problems; paper and paper_spread, as published;
    difference to the plain partner, its half_width, n, unit and dropped pairs, p, holm, more (see `Comparison`);
    best; settings, which tells apart rows of equal labels. Accuracies are in %, differences in percentage points.

    Args:
        rows: of `rows.load`.
        comparisons: of `compare.compare`; made where None.
    """
    found = {id(c.row): c for c in (compare(rows) if comparisons is None else comparisons)}
    best = {id(row) for row in best_rows(rows)}
    lines = [
        {**_numbers(row), **_comparison(found.get(id(row))), "best": id(row) in best, "settings": settings}
        for row, settings in zip(rows, settings_of(rows), strict=True)
    ]
    return pd.DataFrame(lines)


def best_rows(rows: Sequence[Row]) -> list[Row]:
    """Of each table and test, the best row, if its paired difference to every other row there excludes zero.

    A row of which a test run diverged is never the best: pairs without that run flatter it.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row.interval() is not None:
            groups.setdefault((table_of(row), row.tested_on, row.metric), []).append(row)
    return [best for members in groups.values() if (best := _best(members)) is not None]


def _best(rows: Sequence[Row]) -> Row | None:
    sign = 1 if rows[0].higher_is_better else -1
    best = max(rows, key=lambda row: sign * (row.interval() or _NOTHING).mean)
    if best.diverged or len(rows) == 1:
        return None
    margins = (best.margin(row) for row in rows if row is not best)
    return best if all(m is not None and sign * m.mean > m.half_width for m in margins) else None


def _numbers(row: Row) -> dict[str, Any]:
    paper = published(row)
    interval, pooled = row.interval() or _NOTHING, row.pooled() or _NOTHING
    labels = {"method": row.labels.get("optimizer"), **row.labels}
    return {
        "table": table_of(row),
        "track": row.track,
        **{name: labels.get(name, "") for name in COLUMNS},
        **_pixels(row),
        "transductive": row.transductive,
        "metric": row.metric,
        "value": interval.mean,
        "half_width": interval.half_width,
        "n": interval.n,
        "unit": "seeds" if len(row.values) > 1 else row.problem,
        "problem": row.problem,
        "problems": len(next(iter(row.values.values()), ())),
        "seeds": len(row.values),
        "failed": row.failed,
        "diverged": row.diverged,
        "pooled_half_width": pooled.half_width,
        "paper": paper.mean if paper else np.nan,
        "paper_spread": paper.spread if paper else np.nan,
    }


def _pixels(row: Row) -> dict[str, str]:
    """What prepared images are beside the published ones; nothing of records that do not say it."""
    pixels = row.records[0]["dataset"].get("pixels") if row.records else None
    return {"pixels": pixels} if pixels else {}


def _comparison(comparison: Comparison | None) -> dict[str, Any]:
    if comparison is None:
        numbers = dict.fromkeys(("difference", "difference_half_width", "p", "holm", "more"), np.nan)
        return {**numbers, "difference_n": 0, "difference_unit": "", "dropped": 0}
    difference = comparison.difference
    return {
        "difference": difference.mean,
        "difference_half_width": difference.half_width,
        "p": difference.p,
        "holm": comparison.holm,
        "more": np.nan if comparison.more is None else comparison.more,
        "difference_n": difference.n,
        "difference_unit": difference.unit,
        "dropped": difference.dropped,
    }


def settings_of(rows: Sequence[Row]) -> list[str]:
    """For rows of equal labels, the options in which they differ."""
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    keys = [(row.track, *(row.labels[label] for label in LABELS[row.track])) for row in rows]
    options = [_flatten(row.config) | _tested(row) for row in rows]
    for key, mine in zip(keys, options, strict=True):
        alike.setdefault(key, []).append(mine)
    differing = {key: _differing_names(others) for key, others in alike.items()}
    return [
        ", ".join([f"{name}={mine[name]}" for name in differing[key] if name in mine])
        for key, mine in zip(keys, options, strict=True)
    ]


def _differing_names(options: Sequence[dict[str, Any]]) -> list[str]:
    names = sorted({name for mine in options for name in mine})
    missing = object()
    return [name for name in names if any(mine.get(name, missing) != options[0].get(name, missing) for mine in options)]


def _tested(row: Row) -> dict[str, Any]:
    """Hashes, short enough to be read."""
    short = {"data": row.tested_on[0][:8], "test": row.tested_on[1][:8]}
    if row.track == "few_shot" and row.partner[-1]:
        short["backbone"] = row.partner[-1][:8]
    source = row.config.get("transfer")
    return short | ({"transfer.config_sha256": str(source.get("config_sha256"))[:8]} if source else {})


def _flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


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
