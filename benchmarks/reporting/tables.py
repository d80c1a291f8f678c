"""The numbers of the tables, a line a row; `render_text` makes text of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reporting import wording
from benchmarks.reporting.claims import compare
from benchmarks.reporting.compare import Comparison, best_rows
from benchmarks.reporting.crossed.analysis import Analysis
from benchmarks.reporting.crossed.speedup import SpeedUp
from benchmarks.reporting.published import published, table_of
from benchmarks.reporting.rows import Row
from benchmarks.reporting.selection import Selection
from benchmarks.reporting.speedups import speed_ups
from fewshot.errors import InputError, one_of

COLUMNS = ("dataset", "task", "source", "way", "shot", "method", "regularizer")
"""Labels of both tracks as columns of a frame; the optimizer of a general row is its method."""
FILTERS = ("table", "track", *COLUMNS, "metric")


def to_frame(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison] | None = None,
    components: bool = False,
    ratios: Mapping[tuple[str, ...], SpeedUp] | None = None,
    best: Set[tuple[str, ...]] | None = None,
) -> pd.DataFrame:
    """The numbers of a table, a line a row, in the order of `rows`; NaN or "" where there is none.

    Columns: table, track, `COLUMNS`, pixels (what prepared images are, where records say it), transductive; metric,
    value and half_width, over (see `wording.sample`), one_model; problem (episodes or initializations) and how many
    problems, seeds, failed, diverged; worst and worst_half_width, where runs without a value count as the worst; paper
    and paper_spread, as published; difference to the plain partner, its simultaneous interval from low to high,
    difference_over, worst_difference, p, holm, family that this is corrected over (a claim or a table), no_larger_than,
    equivalent, more_seeds and more_problems (see `Comparison`); speed_up over Adam at its best, from speed_up_low to
    speed_up_high (0 and infinity where that end is open), speed_up_bound (see `SpeedUp.bound`), and speed_up_unreached,
    the test runs whose loss Adam never has; exploded, clipped, best_unroll, best_loss and last_loss (see `Selection`);
    with `components` the standard deviations sd_seeds, sd_problems and sd_rest; best; settings, which tells apart rows
    of equal labels; remarks. Accuracies are in %, differences in percentage points.

    Args:
        rows: of `read.load`.
        comparisons: of `claims.compare`; made where None.
        components: whether there are columns of them.
        ratios: of `speedups.speed_ups`; made where None.
        best: of `compare.best_rows`; made where None.
    """
    found = {c.row.key: c for c in (compare(rows) if comparisons is None else comparisons)}
    best, ratios = best_rows(rows) if best is None else best, speed_ups(rows) if ratios is None else ratios
    lines = []
    for row in rows:
        comparison = found.get(row.key)
        line = {**_numbers(row), **_comparison(comparison), **_speed_up(ratios.get(row.key)), **_selection(row)}
        line |= _components(row.analysis) if components else {}
        remarks = wording.remarks(row, comparison)
        lines.append({**line, "best": row.key in best, "settings": row.settings, "remarks": remarks})
    return pd.DataFrame(lines)


def _numbers(row: Row) -> dict[str, Any]:
    paper = published(row)
    return {
        "table": table_of(row),
        "track": row.track,
        **{name: row.labels.get(name, "") for name in COLUMNS},
        **_pixels(row),
        "transductive": row.transductive,
        "metric": row.metric,
        **_mean("value", "half_width", row.analysis),
        "over": wording.sample(row.analysis, row.problem) if row.analysis else "",
        "one_model": bool(row.analysis and row.analysis.one_model),
        "problem": row.problem,
        "problems": row.problems,
        "seeds": len(row.values),
        "failed": row.failed,
        "diverged": row.diverged,
        **_mean("worst", "worst_half_width", row.worst),
        "paper": paper.mean if paper else np.nan,
        "paper_spread": paper.spread if paper else np.nan,
    }


def _mean(name: str, spread: str, analysis: Analysis | None) -> dict[str, float]:
    if analysis is None:
        return {name: np.nan, spread: np.nan}
    return {name: analysis.mean, spread: analysis.half_width()}


def _components(analysis: Analysis | None) -> dict[str, float]:
    found = analysis.components() if analysis else None
    variances = (found.seeds, (found.problems,), found.interaction) if found else ((), (), ())
    names = ("sd_seeds", "sd_problems", "sd_rest")
    return {name: float(np.sqrt(v[0])) if v else np.nan for name, v in zip(names, variances, strict=True)}


def _pixels(row: Row) -> dict[str, str]:
    """What prepared images are beside the published ones; nothing of records that do not say it."""
    pixels = {record.facts.dataset.pixels for record in row.records.values()} - {""}
    return {"pixels": " or ".join(sorted(pixels))} if pixels else {}


def _comparison(comparison: Comparison | None) -> dict[str, Any]:
    numbers = ("difference", "low", "high", "worst_difference", "p", "holm", "no_larger_than", "more_seeds")
    if comparison is None:
        nothing = dict.fromkeys((*numbers, "more_problems"), np.nan)
        return {**nothing, "difference_over": "", "family": "", "equivalent": False}
    contrast, decision, more = comparison.contrast, comparison.decision, comparison.more
    return {
        "difference": comparison.mean,
        "low": decision.low,
        "high": decision.high,
        "worst_difference": contrast.worst.mean if contrast.worst is not contrast.main else np.nan,
        "p": contrast.p,
        "holm": decision.p,
        "no_larger_than": decision.no_larger_than,
        "more_seeds": np.nan if more.seeds is None else more.seeds,
        "more_problems": np.nan if more.problems is None else more.problems,
        "difference_over": wording.sample(contrast.main, comparison.row.problem),
        "family": comparison.pair.family,
        "equivalent": decision.equivalent,
    }


def _selection(row: Row) -> dict[str, float]:
    found = row.selection
    return {f.name: np.nan if found is None else getattr(found, f.name) for f in fields(Selection)}


def _speed_up(found: SpeedUp | None) -> dict[str, Any]:
    low, high = (np.nan, np.nan) if found is None else found.interval()
    return {
        "speed_up": np.nan if found is None else found.ratio,
        "speed_up_low": low,
        "speed_up_high": high,
        "speed_up_bound": "" if found is None else found.bound,
        "speed_up_unreached": np.nan if found is None else found.censored,
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
