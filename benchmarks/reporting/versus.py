"""Two runs of anybody's choice, compared as partners are: paired on their test problems."""

from __future__ import annotations

from pathlib import Path

from benchmarks.reporting import wording
from benchmarks.reporting.compare import Margins, Pair, compare_pairs, unpaired
from benchmarks.reporting.read import load
from benchmarks.reporting.rows import Row
from fewshot.errors import InputError


def versus(first: Path, second: Path, margins: Margins) -> str:
    """What the runs in two folders have reached, and the difference between them, in words.

    Raises:
        InputError: where a folder does not hold the runs of one configuration, or the two were not tested on the same
            problems.
    """
    row, other = _one_row(first), _one_row(second)
    _check_same_test(row, other)
    found = compare_pairs([Pair("", row, other)], margins)
    if not found:
        reason = unpaired(row, other) or "no test problem has a value of both"
        raise InputError(f"{first} and {second} cannot be compared: {reason}; run what failed again with --fresh")
    (comparison,) = found
    lines = [_reached(name, each) for name, each in (("A", row), ("B", other))]
    outcome = {True: "A is better", False: "B is better", None: comparison.decision.verdict.value}[comparison.better]
    return "\n".join([*lines, f"A - B: {wording.said(comparison).line()}: {outcome}"])


def _one_row(folder: Path) -> Row:
    rows = load([folder])
    if len(rows) != 1:
        held = "; ".join(f"{row.label} on {row.on}" for row in rows[:4]) + ("; …" if len(rows) > 4 else "")
        raise InputError(
            f"{folder} holds the runs of {len(rows)} configurations{f' ({held})' if rows else ''};"
            " give the folder of one, such as a folder in results/runs"
        )
    return rows[0]


def _check_same_test(row: Row, other: Row) -> None:
    if row.tested_on == other.tested_on and row.metric == other.metric:
        return
    mine, theirs = ({"test": r.on, **r.test, "data": r.hashes["data"][:8], "metric": r.metric} for r in (row, other))
    differing = [
        f"{name} {mine.get(name)} against {theirs.get(name)}" for name in mine if mine[name] != theirs.get(name)
    ]
    raise InputError(
        f"the two were tested on different problems ({'; '.join(differing) or 'other test hashes'}); only values on the"
        " same problems can be paired: test one of them as the other was"
    )


def _reached(name: str, row: Row) -> str:
    if row.analysis is None:
        return f"{name}: {row.label} on {row.on}: no value"
    value = wording.interval(row.analysis.mean, row.analysis.half_width(), row.metric)
    what = wording.result_name(row)
    return f"{name}: {row.label} on {row.on}: {what} {value} over {wording.sample(row.analysis, row.problem)}"
