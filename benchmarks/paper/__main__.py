"""A table or figure of the paper by name: `python -m benchmarks.paper table1`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro

from benchmarks.jobs.kinds import Job, Places
from benchmarks.jobs.options import Executor
from benchmarks.jobs.plan import FAILED, Plan, PlannedRun, make_plan
from benchmarks.jobs.prepare import prepared
from benchmarks.jobs.schedule import run_jobs
from benchmarks.paper.chosen import tuned, with_files
from benchmarks.paper.exhibits import EXHIBITS, QUICK
from benchmarks.report import ReportCommand, write_report
from benchmarks.reporting.read import load
from benchmarks.running.command import check_seeds, parse_as, plugins_in
from benchmarks.sweep.grid import words_of
from benchmarks.sweep.write import write_outcomes
from fewshot.console import run_command, say
from fewshot.errors import InputError
from fewshot.files import write_text
from fewshot.registry import load_plugins


@dataclass(frozen=True)
class PaperCommand(Executor, Places):
    """Make a table or figure of the paper: print the plan, run what is missing, and report on just these runs.

    The same command again continues what was interrupted; runs that are finished already, whichever command made
    them, are not repeated.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ""
    """A table or figure: table1 to table3, figure3 to figure8, or what a plug-in adds."""
    scale: Literal["quick", "full"] = QUICK
    """full: the paper's protocol on its data; quick: the same on data at hand, for two cores in under half an hour."""
    seeds: tuple[int, ...] | None = None
    """Of meta-training; None: the exhibit's own."""
    also: tuple[str, ...] = ()
    """Datasets whose optional runs are to be made, such as omniglot for table3; finished ones are shown anyway."""
    initializations: int | None = None
    """Test problems of the general track; None: as many as `benchmarks.optimize` takes."""
    tune: bool = False
    """Choose λ and ε on the paper's grid first, by validation over other seeds, and what is not smoothed by as many
    tries; the table is of what was chosen."""
    config: tuple[Path, ...] = ()
    """Options for the runs that they are of: files that benchmarks.sweep wrote."""
    dry_run: bool = False
    """Print the plan, and do nothing."""
    out: Path | None = None
    """Where tables, figures and times are written; None: results/NAME."""
    quiet: bool = False
    """No progress."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seeds is not None:
            check_seeds(self.seeds)
        if self.initializations is not None and self.initializations < 1:
            raise InputError(f"initializations is {self.initializations}; it must be at least 1")

    @property
    def places(self) -> Places:
        """Where things lie."""
        return Places(**{f.name: getattr(self, f.name) for f in fields(Places)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Plan, run, report; exit status 1 where a run failed."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    load_plugins(plugins_in(words))
    command = parse_as(PaperCommand, PaperCommand(), "benchmarks.paper", words)
    exhibit = EXHIBITS.find(command.name)[command.scale]
    title = exhibit.title(command.name, command.scale)
    jobs = exhibit.jobs(exhibit.seeds if command.seeds is None else command.seeds)
    if command.initializations is not None:
        jobs = [job.on_problems(command.initializations) for job in jobs]
    jobs = with_files(jobs, command.config)
    if command.tune:
        jobs = _tuned(jobs, command, title)
        if jobs is None:
            return
    plan = make_plan(jobs, command.places, command.also)
    say(f"# {title}\n\n{plan.table()}\n\n{command.summary(plan)}")
    if plan.unprepared:
        raise InputError("; ".join(plan.unprepared))
    if command.dry_run:
        return
    prepared(plan, command.data, command.quiet)
    failures = [_earlier_failure(run) for run in plan.runs if run.state == FAILED]
    failures += _run(plan, command)
    out = command.out or Path("results") / command.name
    _report(make_plan(jobs, command.places, command.also), out, title, exhibit.figures)
    if failures:
        say("\n".join(["", *failures]))
        raise SystemExit(1)


def _tuned(jobs: list[Job], command: PaperCommand, title: str) -> list[Job] | None:
    """Tune, and say so: the jobs with what was chosen; None after a dry run."""
    table = tuned(jobs, [job.seed for job in jobs])
    plan = make_plan(table.tuning.first_jobs(), command.places, command.also)
    seeds = " ".join(map(str, table.tuning.seeds))
    text = f"# {title}: tuning on validation, seeds {seeds}\n\n{plan.table()}\n\n{command.summary(plan)}"
    after = command.summary(make_plan(jobs, command.places, command.also))
    say(f"{text}\n\nthen the runs of the table, with what is chosen; as they are without tuning, {after}")
    if plan.unprepared:
        raise InputError("; ".join(plan.unprepared))
    if command.dry_run:
        return None
    prepared(plan, command.data, command.quiet)
    outcomes, failures = table.tuning.run(command.places, lambda plan: _run(plan, command))
    if failures:
        say("\n".join(["", "nothing is chosen, because trials failed:", *failures]))
        raise SystemExit(1)
    out = (command.out or Path("results") / command.name) / "tuning"
    text, written = write_outcomes(table.tuning, outcomes, out, f"{title}: tuning")
    say(f"\n{text}\n\nwritten to {', '.join(map(str, written))}\n")
    return table.apply(jobs, [words_of(outcome.chosen) for outcome in outcomes])


def _run(plan: Plan, command: PaperCommand) -> list[str]:
    if not plan.todo:
        return []
    return run_jobs(plan, command.places, command.engine_for(plan, command.places), command.quiet)


def _earlier_failure(run: PlannedRun) -> str:
    cause = run.record.facts.failure if run.record else ""
    return f"{run.job.method} on {run.job.on}, seed {run.job.seed}: failed before, {cause} ({run.path})"


def _report(plan: Plan, out: Path, title: str, figures: Sequence[str]) -> None:
    """Tables, page and figures from the records of what is shown, and the times of all."""
    paths = [run.path for run in plan.runs if run.shown and run.path is not None]
    if not paths:
        return
    text, written = write_report(load(paths), ReportCommand(out=out), title, figures)
    times = out / "wall_times.md"
    write_text(times, f"# {title}: wall times\n\n{_times(plan)}\n")
    say(f"\n{text}\n\nwritten to {', '.join(map(str, [*written, times]))}")


def _times(plan: Plan) -> str:
    """Seconds of every run as its record has them, and their sum, as Markdown."""
    lines = []
    for run in plan.runs:
        if run.record is not None:
            took = run.record.measured
            seconds = {"train": took.train_seconds, "test": took.test_seconds}
            lines.append({"run": run.job.method, "on": run.job.on, "seed": run.job.seed, **seconds})
    frame = pd.DataFrame(lines)
    total = {"run": "sum", "on": "", "seed": "", "train": frame["train"].sum(), "test": frame["test"].sum()}
    frame = pd.concat([frame, pd.DataFrame([total])])
    titles = {"train": "meta-training or choice of a rate (s)", "test": "test (s)"}
    return frame.rename(columns=titles).to_markdown(index=False, floatfmt=".1f")


if __name__ == "__main__":
    run_command(main)
