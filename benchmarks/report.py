"""Tables, figures and a page from records alone: `python -m benchmarks.report [RUNS...] --out DIR`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.reporting.choice import choose
from benchmarks.reporting.claims import judge, to_lines
from benchmarks.reporting.compare import compare
from benchmarks.reporting.figures import write_figures
from benchmarks.reporting.items import experiments, items_of
from benchmarks.reporting.page import write_page
from benchmarks.reporting.render import NOTES, to_latex, to_text
from benchmarks.reporting.rows import Row, load
from benchmarks.reporting.tables import select, sort, to_frame
from benchmarks.running.record import DEFAULT_RESULTS
from fewshot.console import run_command
from fewshot.files import write_text

Format = Literal["md", "csv", "tex", "html", "figures"]
FORMATS: tuple[Format, ...] = ("md", "csv", "tex", "html", "figures")


@dataclass(frozen=True)
class ReportCommand:
    """Make tables (.md, .csv, .tex), report.html and figures from the records of finished runs; print the tables."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (DEFAULT_RESULTS,)
    """Folders of runs, or single records."""
    out: Path = Path("results")
    """Where all of it is written; figures go to a folder of that name in it."""
    where: tuple[str, ...] = ()
    """Show only rows with these values, such as dataset=glyphs shot=1. Partners that are not shown still count."""
    sort: str | None = None
    """Column of tables.csv by which the rows of each table are sorted."""
    reverse: bool = False
    """Largest first."""
    drawn: int | None = None
    """Experiments with figures and charts, those of most runs; default: all up to 40, of more only 4."""
    format: tuple[Format, ...] = FORMATS
    """What is written."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables; write what is asked for."""
    command = tyro.cli(ReportCommand, prog="python -m benchmarks.report", args=arguments)
    text, paths = write_report(load(command.runs), command)
    print(f"{text}\n\nwritten to {', '.join(map(str, paths))}")


def write_report(
    rows: Sequence[Row], command: ReportCommand, title: str = "", kinds: Sequence[str] | None = None
) -> tuple[str, list[Path]]:
    """Write tables, page and figures.

    Args:
        rows: all of them, so that what is shown never changes a correction.
        command: what of them is written, and where.
        title: of all of it; "" for none.
        kinds: of figures; None: all that the rows allow.

    Returns:
        The text of the tables, and what was written.
    """
    comparisons = compare(rows)
    frame = select(to_frame(rows, comparisons), command.where)
    shown, lines = [rows[i] for i in frame.index], frame
    if command.sort is not None:
        frame = sort(frame, command.sort, command.reverse)
    verdicts = judge(rows, shown, comparisons)
    text = "\n\n".join(filter(None, (f"# {title}" if title else "", to_text(frame), NOTES, to_lines(verdicts))))
    visible = {id(row) for row in shown}
    comparisons = [comparison for comparison in comparisons if id(comparison.row) in visible]
    choice = choose(experiments(items_of(shown, lines)), comparisons, command.drawn)
    contents = {
        "md": lambda: text + "\n",
        "csv": lambda: frame.to_csv(index=False),
        "tex": lambda: (f"% {title}\n" if title else "") + to_latex(frame),
    }
    paths = []
    for name in dict.fromkeys(command.format):
        if name == "html":
            paths.append(write_page(shown, comparisons, verdicts, command.out, choice, title))
        elif name == "figures":
            write_figures(shown, comparisons, command.out / "figures", choice, title, kinds)
            paths.append(command.out / "figures")
        else:
            paths.append(command.out / f"tables.{name}")
            write_text(paths[-1], contents[name]())
    notes = [choice.note] * bool(choice.note and {"html", "figures"} & set(command.format))
    return "\n\n".join([text, *notes]), paths


if __name__ == "__main__":
    run_command(main)
