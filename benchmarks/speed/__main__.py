"""How fast the suite is here, and how far it repeats itself: `python -m benchmarks.speed MEASUREMENT`, such as sib."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

import pandas as pd
import tyro

from benchmarks.running.command import parse_as
from benchmarks.speed.general import TogetherSpeed, UnrollSpeed, measure_together, measure_unroll
from benchmarks.speed.meta_lstm import MetaLSTMSpeed, measure_meta_lstm
from benchmarks.speed.optimizers import Cores, DropIn, measure_cores, measure_drop_in
from benchmarks.speed.report import ReportSpeed, measure_report
from benchmarks.speed.rerun import RerunSpread, measure_rerun_spread
from benchmarks.speed.sampling import Sampling, measure_sampling
from benchmarks.speed.sib import ExtractionSpeed, SIBSpeed, measure_extraction, measure_sib
from fewshot.console import run_command, say
from fewshot.registry import load_plugins

MEASUREMENTS: dict[str, tuple[type, Callable[[Any], pd.DataFrame]]] = {
    "sampling": (Sampling, measure_sampling),
    "meta-lstm": (MetaLSTMSpeed, measure_meta_lstm),
    "sib": (SIBSpeed, measure_sib),
    "extraction": (ExtractionSpeed, measure_extraction),
    "unroll": (UnrollSpeed, measure_unroll),
    "together": (TogetherSpeed, measure_together),
    "cores": (Cores, measure_cores),
    "drop-in": (DropIn, measure_drop_in),
    "report": (ReportSpeed, measure_report),
    "rerun-spread": (RerunSpread, measure_rerun_spread),
}
"""By name: options, and what measures."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    while "--plugin" in words[:-1]:  # before the name of the measurement or behind it
        place = words.index("--plugin")
        load_plugins([words[place + 1]])
        del words[place : place + 2]
    choices = tuple(Annotated[kind, tyro.conf.subcommand(name)] for name, (kind, _) in MEASUREMENTS.items())
    command: Any = parse_as(Union[choices], None, "benchmarks.speed", words)  # noqa: UP007  # pyright: ignore
    measure = next(measure for kind, measure in MEASUREMENTS.values() if kind is type(command))
    frame = measure(command)
    say(frame.astype(object).where(frame.notna(), "").to_markdown(index=False, floatfmt=".4g"))


if __name__ == "__main__":
    run_command(main)
