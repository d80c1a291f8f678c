"""Text that fits a terminal: tables fold their columns, and lines break between words."""

from __future__ import annotations

import shutil
import sys
import textwrap

import pandas as pd

from benchmarks.reporting.naming import label

NAMES = ("dataset", "task", "way", "shot", "method")
"""Columns that say which row a line is."""
SHOWN = (
    "accuracy (%)",
    "test loss",
    "difference",
    "failures",
    "speed-up",
    "p (Holm)",
    "no larger than",
    "over",
    "worst case",
    "more",
    "paper",
)
"""Further columns, those first that a narrow terminal shows first."""


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(cells: pd.DataFrame, width: int | None = None) -> str:
    """Cells of text as a Markdown table.

    Args:
        cells: without line breaks.
        width: that no line exceeds; None: whatever it takes. A table that is too wide calls rows as legends do, says in
            a line above it what all rows agree in, and in one below it which columns are left out; where not even one
            column finds room beside the names of rows, every row is a paragraph.
    """
    whole = _markdown(cells)
    if width is None or _fits(whole, width):
        return whole
    cells = _called_briefly(cells)
    rows = cells.to_dict("records")
    kept = ("method", *SHOWN[:4])
    common = {name: text for name, text in rows[0].items() if name not in kept and all(r[name] == text for r in rows)}
    rest = cells.drop(columns=list(common))
    chosen = _chosen(rest, width)
    left_out = [name for name in rest.columns if name not in chosen]
    parts = [f"all rows: {', '.join(f'{name} {value}' for name, value in common.items())}"] if common else []
    if not set(chosen) - set(NAMES):
        return "\n\n".join(lines(part, width) for part in (*parts, _paragraphs(rest)))
    parts.append(_markdown(rest.filter(items=chosen)))
    if left_out:
        parts.append(f"no room in {width} columns: {', '.join(left_out)}")
    return "\n\n".join(part if part.startswith("|") else lines(part, width) for part in parts)


def lines(text: str, width: int | None) -> str:
    """Text broken between words so that no line exceeds `width`; further lines of a list's item are indented."""
    if width is None:
        return text
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  " if line.startswith("- ") else "", break_on_hyphens=False)
        for line in text.split("\n")
    )


def _called_briefly(cells: pd.DataFrame) -> pd.DataFrame:
    """With method, regularizer, source and settings in one column."""
    names = [name for name in ("method", "regularizer", "source", "settings") if name in cells]
    rows = cells.filter(items=names).to_dict("records")
    labels = [
        label(row["method"], row.get("regularizer", "none"), row.get("source", ""), row.get("settings", ""))
        for row in rows
    ]
    return cells.drop(columns=names[1:]).assign(method=labels)


def _chosen(cells: pd.DataFrame, width: int) -> list[str]:
    """Columns that fit beside the names of rows, in their order."""
    chosen = [name for name in cells.columns if name in NAMES]
    for name in sorted(cells.columns.drop(chosen), key=lambda name: (*SHOWN, name).index(name)):
        wider = [other for other in cells.columns if other in (*chosen, name)]
        if not _fits(_markdown(cells.filter(items=wider)), width):
            break
        chosen = wider
    return chosen


def _paragraphs(cells: pd.DataFrame) -> str:
    rows = ([f"{name} {value}" for name, value in row.items() if value] for row in cells.to_dict("records"))
    return "\n".join(f"- {', '.join(row)}" for row in rows)


def _markdown(cells: pd.DataFrame) -> str:
    return cells.to_markdown(index=False, disable_numparse=True)


def _fits(text: str, width: int) -> bool:
    return max(map(len, text.splitlines())) <= width
