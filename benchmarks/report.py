"""Tables, figures and a page from records alone: `python -m benchmarks.report [RUNS...] --out DIR`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.reporting.claims import compare, judge
from benchmarks.reporting.compare import DEFAULT_MARGINS, Margins, best_rows
from benchmarks.reporting.folding import terminal_width
from benchmarks.reporting.groups import choose, groups_of
from benchmarks.reporting.kinds import make_plots
from benchmarks.reporting.read import load
from benchmarks.reporting.render_html import to_html
from benchmarks.reporting.render_matplotlib import write_figures
from benchmarks.reporting.render_text import notes_text, to_latex, to_text, verdicts_text
from benchmarks.reporting.rows import Row
from benchmarks.reporting.speedups import speed_ups
from benchmarks.reporting.tables import select, sort, to_frame
from benchmarks.running.command import parse_as
from benchmarks.running.record import DEFAULT_RESULTS
from fewshot.console import run_command, say
from fewshot.files import write_text
from fewshot.registry import load_plugins

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
    margin_points: float = DEFAULT_MARGINS.points
    """Differences in accuracy of fewer percentage points are practically nothing."""
    margin_relative: float = DEFAULT_MARGINS.relative
    """Differences below this fraction of a loss (or of a Lipschitz number) are practically nothing."""
    components: bool = False
    """Columns of how much seeds, test problems and their interaction vary, as standard deviations."""
    selection: bool = False
    """Columns of how optimizers were selected: exploded and clipped shares, best unroll, validation losses."""
    format: tuple[Format, ...] = FORMATS
    """What is written."""
    plugin: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Python file or module that registers tables or claims (docs/plugins.md); may be given more than once."""

    def __post_init__(self) -> None:
        _ = self.margins

    @property
    def margins(self) -> Margins:
        """Of what is practically nothing."""
        return Margins(self.margin_points, self.margin_relative)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables; write what is asked for."""
    command = parse_as(ReportCommand, ReportCommand(), "benchmarks.report", arguments)
    load_plugins(command.plugin)
    text, paths = write_report(load(command.runs), command)
    say(f"{text}\n\nwritten to {', '.join(map(str, paths))}")


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
        The text of the tables, as wide as the terminal, and what was written.
    """
    judgements = judge(rows, command.margins)
    comparisons = compare(rows, judgements, command.margins)
    ratios, best = speed_ups(rows), best_rows(rows)
    frame = select(to_frame(rows, comparisons, command.components, ratios, best), command.where)
    shown = [rows[i] for i in frame.index]
    if command.sort is not None:
        frame = sort(frame, command.sort, command.reverse)
    visible = {row.key for row in shown}
    judgements = [judgement for judgement in judgements if judgement.row.key in visible]
    comparisons = [comparison for comparison in comparisons if comparison.row.key in visible]

    @cache  # for the file and, where that is no terminal, standard output
    def text(width: int | None) -> str:
        heading = f"# {title}" if title else ""
        notes = notes_text(frame, command.margins, width)
        tables, verdicts = to_text(frame, width, selection=command.selection), verdicts_text(judgements, width)
        return "\n\n".join(filter(None, (heading, tables, notes, verdicts)))

    choice = choose(groups_of(shown), comparisons, command.drawn)
    plots = []
    if {"html", "figures"} & set(command.format):
        plots = make_plots(choice, None if "html" in command.format else kinds, ratios)
    contents = {
        "md": lambda: text(None) + "\n",
        "csv": lambda: frame.to_csv(index=False),
        "tex": lambda: (f"% {title}\n" if title else "") + to_latex(frame, command.selection),
        "html": lambda: to_html(
            choice.groups, comparisons, judgements, plots, choice.note, title, command.margins, ratios, best
        ),
    }
    paths = []
    for name in dict.fromkeys(command.format):
        if name == "figures":
            paths.append(command.out / "figures")
            write_figures([plot for plot in plots if kinds is None or plot.kind in kinds], paths[-1], title)
        else:
            paths.append(command.out / ("report.html" if name == "html" else f"tables.{name}"))
            write_text(paths[-1], contents[name]())
    notes = [choice.note] * bool(choice.note and {"html", "figures"} & set(command.format))
    return "\n\n".join([text(terminal_width()), *notes]), paths


if __name__ == "__main__":
    run_command(main)
