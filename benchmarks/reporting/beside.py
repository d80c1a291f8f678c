"""The table that a command ends with: its own rows, and those that they are to be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.reporting.read import load_files, rows_of
from benchmarks.reporting.render_text import to_text
from benchmarks.reporting.tables import sort, to_frame
from benchmarks.running.record import RECORD_NAME, Record


def table_beside(results: Path, records: Sequence[Record]) -> str:
    """The tables of some runs beside what else lies in a folder of results.

    A few-shot row stands beside those that differ from it in the regularizer alone, with their differences, whichever
    of them was run last; a row of the general track beside all that was tested on the same problems, best first.

    Args:
        results: folder of all runs.
        records: of one command.
    """
    own = rows_of(records)
    few_shot = own[0].track == "few_shot"
    partners, tests = {row.partner for row in own}, {row.tested_on for row in own}
    candidates = sorted(path for pattern in _patterns(records, few_shot) for path in results.glob(pattern))
    rows = load_files(list(dict.fromkeys(candidates)))
    rows = [row for row in rows if (row.partner in partners if few_shot else row.tested_on in tests)]
    frame = to_frame(rows)
    return to_text(frame if few_shot else sort(frame, "value", reverse=own[0].higher_is_better))


def _patterns(records: Sequence[Record], few_shot: bool) -> set[str]:
    """Where records that may matter lie: the name of a folder begins with what is run."""
    if not few_shot:
        return {f"general-*/seed*/{RECORD_NAME}"}
    configs = [record.facts.config for record in records]
    names = {"{method}-*-{dataset}-{way}way-{shot}shot-*".format(**config) for config in configs}
    return {f"{name}/seed*/{RECORD_NAME}" for name in names}
