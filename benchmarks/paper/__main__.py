"""A table or figure of the paper by name: `python -m benchmarks.paper table1`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro

from benchmarks.paper.execute import run_jobs
from benchmarks.paper.experiments import EXPERIMENTS, QUICK
from benchmarks.paper.jobs import Places
from benchmarks.paper.plan import FAILED, Plan, Step, make_plan
from benchmarks.report import ReportCommand, write_report
from benchmarks.reporting.read import load
from fewshot.console import run_command
from fewshot.data.catalog import open_dataset
from fewshot.errors import InputError, one_of
from fewshot.files import write_text


@dataclass(frozen=True)
class PaperCommand(Places):
    """Make a table or figure of the paper: print the plan, run what is missing, and report on just these runs.

    The same command again continues what was interrupted; runs that are finished already, whichever command made
    them, are not repeated.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help=f"One of: {', '.join(EXPERIMENTS)}.")] = ""
    scale: Literal["quick", "full"] = QUICK
    """full: the paper's protocol on its data; quick: the same on data at hand, for two cores in under half an hour."""
    seeds: tuple[int, ...] | None = None
    """Of meta-training; None: the experiment's own."""
    dry_run: bool = False
    """Print the plan, and do nothing."""
    out: Path | None = None
    """Where tables, figures and times are written; None: results/NAME."""
    workers: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    """Runs at a time, each on one core."""
    quiet: bool = False
    """No progress."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"workers is {self.workers}; it must be at least 1")
        if self.seeds is not None and (not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds)):
            raise InputError(f"seeds are {self.seeds}; give one or more different whole numbers of at least 0")

    @property
    def places(self) -> Places:
        """Where things lie."""
        return Places(**{f.name: getattr(self, f.name) for f in fields(Places)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan, run, report; exit status 1 where a run failed."""
    command = tyro.cli(
        PaperCommand,
        prog="python -m benchmarks.paper",
        default=PaperCommand(data=Path(os.environ.get("FEWSHOT_DATA", "data"))),
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    one_of("table or figure", command.name, EXPERIMENTS)
    experiment, places = EXPERIMENTS[command.name][command.scale], command.places
    title = experiment.title(command.name, command.scale)
    jobs = experiment.jobs(experiment.seeds if command.seeds is None else command.seeds)
    plan = make_plan(jobs, places)
    print(f"# {title}\n\n{plan.table()}\n\n{_summary(plan, command.workers)}", flush=True)
    if plan.unprepared:
        raise InputError("; ".join(plan.unprepared))
    if command.dry_run:
        return
    for dataset in dict.fromkeys(step.job.dataset for step in plan.todo):
        if dataset is not None:
            open_dataset(dataset, places.data, command.quiet)  # glyphs are drawn once, not by every worker
    failures = [_earlier_failure(step) for step in plan.steps if step.state == FAILED]
    failures += run_jobs(plan, places, command.workers, command.quiet)
    out = command.out or Path("results") / command.name
    _report(make_plan(jobs, places), out, title, experiment.figures)
    if failures:
        print("\n".join(["", *failures]))
        raise SystemExit(1)


def _summary(plan: Plan, workers: int) -> str:
    lines = [f"left out: {reason}" for reason in plan.left_out]
    minutes = plan.remaining(workers) / 60
    time = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:,.0f} h"
    left = f"{len(plan.todo)} of {len(plan.steps)} runs are left, about {time} with {workers} at a time"
    return "\n".join([*lines, left if plan.todo else f"all {len(plan.steps)} runs are finished"])


def _earlier_failure(step: Step) -> str:
    cause = step.record["failure"] if step.record else ""
    return f"{step.job.method} on {step.job.on}, seed {step.job.seed}: failed before, {cause} ({step.path})"


def _report(plan: Plan, out: Path, title: str, figures: Sequence[str]) -> None:
    """Tables, page and figures from the records of what is shown, and the times of all."""
    paths = [step.path for step in plan.steps if step.shown and step.path is not None]
    if not paths:
        return
    text, written = write_report(load(paths), ReportCommand(out=out), title, figures)
    times = out / "wall_times.md"
    write_text(times, f"# {title}: wall times\n\n{_times(plan)}\n")
    print(f"\n{text}\n\nwritten to {', '.join(map(str, [*written, times]))}")


def _times(plan: Plan) -> str:
    """Seconds of every run as its record has them, and their sum, as Markdown."""
    lines = []
    for step in plan.steps:
        if step.record is not None:
            measured = step.record["measured"]
            seconds = {name: measured.get(f"{name}_seconds", 0.0) for name in ("train", "test")}
            lines.append({"run": step.job.method, "on": step.job.on, "seed": step.job.seed, **seconds})
    frame = pd.DataFrame(lines)
    total = {"run": "sum", "on": "", "seed": "", "train": frame["train"].sum(), "test": frame["test"].sum()}
    frame = pd.concat([frame, pd.DataFrame([total])])
    titles = {"train": "meta-training or choice of a rate (s)", "test": "test (s)"}
    return frame.rename(columns=titles).to_markdown(index=False, floatfmt=".1f")


if __name__ == "__main__":
    run_command(main)
