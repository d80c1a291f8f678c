"""Tables from records alone: `python -m benchmarks.report [RUNS...] --out DIR`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import tyro

from benchmarks.cli import DEFAULT_RESULTS
from benchmarks.reporting.rows import load
from benchmarks.reporting.tables import to_frame
from fewshot.console import run_command
from fewshot.files import write_text

NOTES = """\
accuracy: mean over test episodes in %, ± half-width of its 95 % t interval, whose unit (`over`) is the episode for one
trained model and the seed for several; `episodes ±` is the half-width over all episodes of all seeds.
difference: to the same configuration without regularizer, in percentage points, paired on the same test episodes and
seeds, with an interval over the same unit; p: Wilcoxon's signed-rank test over episodes (averaged over seeds).
T: transductive. Failed runs are counted, never averaged."""


@dataclass(frozen=True)
class ReportCommand:
    """Make tables.md and tables.csv from the records of finished runs, and print the table."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional] = (DEFAULT_RESULTS,)
    """Folders of runs, or single records."""
    out: Path = Path("results")
    """Where tables.md and tables.csv are written."""


def to_text(frame: pd.DataFrame) -> str:
    """The frame of `tables.to_frame` as a Markdown table, which reads well on a terminal too."""
    if frame.empty:
        return "no records"
    table = pd.DataFrame([_cells(line) for line in frame.to_dict("records")])
    table = table.drop(columns=[name for name in ("settings", "difference", "p") if not any(table[name])])
    return table.to_markdown(index=False, disable_numparse=True)


def _cells(line: dict[str, Any]) -> dict[str, str]:
    seeds = f"{line['seeds']}" + (f" ({line['failed']} failed)" if line["failed"] else "")
    return {
        "dataset": line["dataset"],
        "way": str(line["way"]),
        "shot": str(line["shot"]),
        "method": line["method"] + (" (T)" if line["transductive"] else ""),
        "regularizer": line["regularizer"],
        "settings": line["settings"],
        "accuracy (%)": f"{line['value']:.2f} ± {line['half_width']:.2f}" if line["seeds"] else "failed",
        "over": f"{line['n']} {line['unit']}" if line["seeds"] else "",
        "episodes": str(line["problems"]),
        "seeds": seeds,
        "episodes ±": f"{line['pooled_half_width']:.2f}" if line["seeds"] else "",
        "difference": _signed(line["difference"], line["difference_half_width"]),
        "p": _number(line["p"], "{:.2g}"),
    }


def _signed(mean: float, half_width: float) -> str:
    return _number(mean, "{:+.2f}") and f"{mean:+.2f} ± {half_width:.2f}"


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else form.format(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and write the tables."""
    command = tyro.cli(ReportCommand, prog="python -m benchmarks.report", args=arguments)
    frame = to_frame(load(command.runs))
    text = to_text(frame)
    write_text(command.out / "tables.md", f"{text}\n\n{NOTES}\n")
    write_text(command.out / "tables.csv", frame.to_csv(index=False))
    print(f"{text}\n\n{NOTES}\n\nwritten to {command.out / 'tables.md'} and {command.out / 'tables.csv'}")


if __name__ == "__main__":
    run_command(main)
