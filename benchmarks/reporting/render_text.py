"""Frames of numbers as text: Markdown for people and terminals, LaTeX for papers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from benchmarks.reporting import folding, wording
from benchmarks.reporting.claims import Judgement
from benchmarks.reporting.compare import Margins
from benchmarks.reporting.published import TABLES, title_of

_NOT_AS_PUBLISHED = ("resized", "re-encoded", "re-encoded, resized")
_MARKDOWN = {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {c: f"\\{c}" for c in "\\|*`[]~$#!"}
_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it stands, in one line of a table."""
    text = "".join(_MARKDOWN.get(c, c) for c in _one_line(text))
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)  # inside a word it is no markup


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it stands, in one cell of a table; what pdflatex has no glyph for becomes "?"."""
    escaped = (_LATEX.get(c, c) for c in _one_line(text))
    return "".join(c if c.isascii() else "?" for c in escaped)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def to_text(frame: pd.DataFrame, width: int | None = None, title: str = "", selection: bool = False) -> str:
    """The frame of `tables.to_frame` as Markdown tables, which read well on a terminal too.

    Args:
        frame: its numbers.
        width: of the terminal; None: lines are as long as they need to be.
        title: of all rows as one table; empty: the tables in which they stand.
        selection: whether there are columns of how optimizers were selected.
    """
    if frame.empty:
        return "no records"
    tables = [(title, frame)] if title else _tables(frame)
    texts = ((name, folding.table(_cells(t, escape_markdown, "**{}**".format, selection), width)) for name, t in tables)
    return "\n\n".join(f"### {escape_markdown(name)}\n\n{text}" for name, text in texts)


def to_latex(frame: pd.DataFrame, selection: bool = False) -> str:
    """The frame as LaTeX tables of no packages, to be \\input where they shall stand; `selection` as in `to_text`."""
    return "\n".join(_latex(title, table, selection) for title, table in _tables(frame))


def notes_text(frame: pd.DataFrame, margins: Margins, width: int | None = None) -> str:
    """How the tables of a frame are to be read, with what only some tables need."""
    some = not frame.empty
    notes = wording.notes(
        margins,
        speed_ups=some and bool(frame["speed_up"].notna().any()),
        one_model=some and bool(frame["one_model"].any()),
    )
    return notes if width is None else folding.lines(" ".join(notes.split()), width)


def verdicts_text(verdicts: Sequence[Judgement], width: int | None = None) -> str:
    """Markdown: a heading, and a list of verdicts under every claim; nothing where there are none."""
    if not verdicts:
        return ""
    parts = ["### The paper's claims, judged by these rows"]
    for text, members in groupby(verdicts, key=lambda verdict: verdict.claim.text):
        lines = [
            f"- {escape_markdown(wording.pair_of(v))}: **{wording.verdict(v)}** ({wording.judged(v)})" for v in members
        ]
        parts.append(folding.lines(f"{text}:\n\n" + "\n".join(lines), width))
    return "\n\n".join(parts)


def _tables(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if frame.empty:
        return []
    tables = {str(key): table for key, table in frame.groupby("table", sort=False)}
    keys = [*(key for key in TABLES if key in tables), *(key for key in tables if key not in TABLES)]
    return [(title_of(key), tables[key]) for key in keys]


def _latex(title: str, table: pd.DataFrame, selection: bool) -> str:
    cells = _cells(table, escape_latex, r"\textbf{{{}}}".format, selection)
    lines = [" & ".join(line) + r" \\" for line in cells.to_numpy()]
    head = " & ".join(escape_latex(name) for name in cells.columns) + r" \\"
    parts = [r"\begin{table}", rf"\caption{{{escape_latex(title)}}}", rf"\begin{{tabular}}{{{'l' * cells.shape[1]}}}"]
    return "\n".join([*parts, r"\hline", head, r"\hline", *lines, r"\hline", r"\end{tabular}", r"\end{table}", ""])


def _cells(
    table: pd.DataFrame, escape: Callable[[str], str], bold: Callable[[str], str], selection: bool
) -> pd.DataFrame:
    lines = []
    for line in table.to_dict("records"):
        texts = _texts(line) | (_selection(line) if selection else {})
        cells = {name: escape(text) for name, text in texts.items()}
        if line["best"]:
            value = "accuracy (%)" if line["metric"] == "accuracy" else "test loss"
            cells[value] = bold(cells[value])
        lines.append(cells)
    cells = pd.DataFrame(lines)
    return cells.filter(items=[name for name in cells.columns if any(cells[name])])


def _selection(line: dict[str, Any]) -> dict[str, str]:
    return {
        "exploded (%)": wording.share(line["exploded"]),
        "clipped (%)": wording.share(line["clipped"]),
        "best unroll": wording.unroll(line["best_unroll"]),
        "validation, best": wording.number(line["best_loss"], "loss"),
        "validation, last": wording.last_loss(line["last_loss"]),
    }


def _texts(line: dict[str, Any]) -> dict[str, str]:
    metric = line["metric"]
    value = wording.interval(line["value"], line["half_width"], metric) or ("diverged" if line["seeds"] else "failed")
    return {
        "dataset": line["dataset"] + (f" ({line['pixels']})" if line.get("pixels") in _NOT_AS_PUBLISHED else ""),
        **{name: str(line[name]) for name in ("task", "source", "way", "shot")},
        "method": line["method"] + (" (T)" if line["transductive"] else ""),
        "regularizer": line["regularizer"],
        "settings": line["settings"],
        "accuracy (%)": value if metric == "accuracy" else "",
        "test loss": "" if metric == "accuracy" else value,
        "over": line["over"],
        "worst case": wording.interval(line["worst"], line["worst_half_width"], metric),
        **{
            name.replace("_", " "): wording.number(line[name], metric)
            for name in ("sd_seeds", "sd_problems", "sd_rest")
            if name in line
        },
        "paper": wording.interval(line["paper"], line["paper_spread"], "accuracy"),
        "difference": wording.between(line["difference"], line["low"], line["high"], metric),
        "worst difference": wording.number(line["worst_difference"], metric, "+"),
        "p (Holm)": wording.p_value(line["holm"]),
        "no larger than": wording.bound(line["no_larger_than"], line["equivalent"], metric),
        "more": wording.more(line["more_seeds"], line["more_problems"], line["problem"]),
        "speed-up": wording.speed_up(*(line[f"speed_up{name}"] for name in ("", "_low", "_high", "_bound"))),
        "failures": wording.lost(line["failed"], line["diverged"]),
        "remarks": line["remarks"],
    }
