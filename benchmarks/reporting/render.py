"""Frames of numbers as text: Markdown for people and terminals, LaTeX for papers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd

TITLES = {
    "table1": "Table 1: regularizers of SimpleOptimizer",
    "table2": "Table 2: Meta-LSTM",
    "table3": "Table 3: SIB",
    "few_shot": "Few-shot learning, other methods",
    "general": "General training, other optimizers",
}
"""By key of `table_of`, in the order of the report."""
NOTES = """\
Mean ± half-width of a 95 % t interval over the unit under `over`: test episodes or initializations of one trained
model, or seeds where there are several; `pooled ±` is over all episodes or initializations of all seeds.
Paper: as published; the paper does not say what its ± is. Difference: to the same configuration without regularizer,
paired on the same test episodes or initializations and seeds (points of accuracy, or units of the loss). p: Wilcoxon's
signed-rank test over episodes or initializations (averaged over seeds), Holm-corrected over the whole table.
More: how many more of the unit would show this difference at 80 % power. Bold: nothing diverged, and better than
every other row on the same test, by paired intervals that exclude zero. T: transductive. Failed and diverged runs are
counted, never averaged; pairs of which one diverged are dropped from the difference, which favours the method that
diverges more."""
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


def to_text(frame: pd.DataFrame) -> str:
    """The frame of `tables.to_frame` as Markdown tables, which read well on a terminal too."""
    if frame.empty:
        return "no records"
    return "\n\n".join(f"### {title}\n\n{_markdown(table)}" for title, table in _tables(frame))


def to_latex(frame: pd.DataFrame) -> str:
    """The frame as LaTeX tables of no packages, to be \\input where they shall stand."""
    return "\n".join(_latex(title, table) for title, table in _tables(frame))


def _tables(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if frame.empty:
        return []
    tables = {str(key): table for key, table in frame.groupby("table", sort=False)}
    return [(title, tables[key]) for key, title in TITLES.items() if key in tables]


def _markdown(table: pd.DataFrame) -> str:
    cells = _cells(table, escape_markdown, "**{}**".format)
    return cells.to_markdown(index=False, disable_numparse=True)


def _latex(title: str, table: pd.DataFrame) -> str:
    cells = _cells(table, escape_latex, r"\textbf{{{}}}".format)
    lines = [" & ".join(line) + r" \\" for line in cells.to_numpy()]
    head = " & ".join(escape_latex(name) for name in cells.columns) + r" \\"
    parts = [r"\begin{table}", rf"\caption{{{escape_latex(title)}}}", rf"\begin{{tabular}}{{{'l' * cells.shape[1]}}}"]
    return "\n".join([*parts, r"\hline", head, r"\hline", *lines, r"\hline", r"\end{tabular}", r"\end{table}", ""])


def _cells(table: pd.DataFrame, escape: Callable[[str], str], bold: Callable[[str], str]) -> pd.DataFrame:
    lines = []
    for line in table.to_dict("records"):
        cells = {name: escape(text) for name, text in _texts(line).items()}
        if line["best"]:
            value = "accuracy (%)" if line["metric"] == "accuracy" else "test loss"
            cells[value] = bold(cells[value])
        lines.append(cells)
    cells = pd.DataFrame(lines)
    return cells.filter(items=[name for name in cells.columns if any(cells[name])])


def _texts(line: dict[str, Any]) -> dict[str, str]:
    value = _interval(line, "value", "half_width") or ("diverged" if line["seeds"] else "failed")
    accuracy = line["metric"] == "accuracy"
    paper = (line["paper"], line["paper_spread"])
    return {
        "dataset": line["dataset"] + (f" ({line['pixels']})" if line.get("pixels") in _NOT_AS_PUBLISHED else ""),
        **{name: str(line[name]) for name in ("task", "source", "way", "shot")},
        "method": line["method"] + (" (T)" if line["transductive"] else ""),
        "regularizer": line["regularizer"],
        "settings": line["settings"],
        "accuracy (%)": value if accuracy else "",
        "test loss": "" if accuracy else value,
        "over": f"{line['n']} {line['unit']}" if line["n"] else "",
        "n": f"{line['problems']} {line['problem']} × {_count(line['seeds'], 'seed')}" if line["seeds"] else "",
        "pooled ±": _number(line["pooled_half_width"], line),
        "paper": "" if math.isnan(paper[0]) else f"{paper[0]:.2f} ± {paper[1]:.2f}",
        "difference": _interval(line, "difference", "difference_half_width", "+"),
        "pairs": f"{line['difference_n']} {line['difference_unit']}" if line["difference_n"] else "",
        "p (Holm)": "" if math.isnan(line["holm"]) else f"{line['holm']:.2g}",
        "more": f"{line['more']:.0f}" if line["more"] > 0 else "",
        "failures": _failures(line),
    }


def _interval(line: dict[str, Any], mean: str, half_width: str, sign: str = "") -> str:
    if math.isnan(line[mean]):
        return ""
    spread = _number(line[half_width], line) or "?"
    return f"{_number(line[mean], line, sign)} ± {spread}"


def _number(value: float, line: dict[str, Any], sign: str = "") -> str:
    form = ".2f" if line["metric"] == "accuracy" else ".4g"
    return "" if math.isnan(value) else format(value, sign + form)


def _failures(line: dict[str, Any]) -> str:
    counts = {"failed": line["failed"], "diverged": line["diverged"], "pairs dropped": line["dropped"]}
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _count(n: int, unit: str) -> str:
    return f"{n} {unit}" if n == 1 else f"{n} {unit}s"
