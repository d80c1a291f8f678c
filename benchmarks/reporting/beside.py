"""The table that a command ends with: its own rows, and those that they are to be compared with."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reporting.folding import terminal_width
from benchmarks.reporting.read import load_files, rows_of
from benchmarks.reporting.render_text import to_text
from benchmarks.reporting.rows import Row
from benchmarks.reporting.tables import sort, to_frame
from benchmarks.running.record import RECORD_NAME, Record


def table_beside(results: Path, records: Sequence[Record]) -> str:
    """The table of some runs of one track beside what else lies in a folder of results, as wide as the terminal.

    Args:
        results: folder of all runs.
        records: of one command.
    """
    rows = rows_beside(results, records)
    frame, first = to_frame(rows), rows[0]
    if first.track == "general":
        return to_text(sort(frame, "value", reverse=first.higher_is_better), terminal_width(), first.on)
    return to_text(frame, terminal_width())


def rows_beside(results: Path, records: Sequence[Record]) -> list[Row]:
    """The rows of some records, and what they are to be compared with.

    A few-shot row stands beside those that differ from it in the regularizer alone, whichever of them was run last; a
    row of the general track beside all that was tested on the same problems. Only folders whose names say that they
    may matter are read.

    Args:
        results: folder of all runs.
        records: of one command.
    """
    own = rows_of(records)
    partners = {row.partner for row in own if row.track == "few_shot"}
    tests = {row.tested_on for row in own if row.track == "general"}
    written = {record.path for record in records if record.path is not None}
    found = (path for row in own for path in results.glob(f"{_folders(row)}/seed*/{RECORD_NAME}"))
    rows = load_files(sorted({*written, *found}), lambda run: run.partner in partners or run.tested_on in tests)
    return rows or own


def _folders(row: Row) -> str:
    """Pattern of the folders of runs that may stand beside a row: their names begin with what is run."""
    if row.track == "general":
        return f"general-*-{glob.escape(str(row.labels['task']))}-*"
    names = {name: glob.escape(str(value)) for name, value in row.labels.items()}
    return "{method}-*-{dataset}-{way}way-{shot}shot-*".format(**names)
