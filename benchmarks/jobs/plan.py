"""What an exhibit takes: its jobs, which of them are finished, and how long the others will take."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.jobs.kinds import Job, Places
from benchmarks.running.device import choose_device, device_name
from benchmarks.running.record import Record, read_record
from fewshot.console import duration
from fewshot.data.catalog import missing

FINISHED, FAILED, INTERRUPTED, MISSING = "finished", "failed", "interrupted", "missing"
STARTING = 5.0
"""Seconds before a command does anything, guessed: Python, torch and the data."""


@dataclass(frozen=True)
class PlannedRun:
    """A job, and how far it is."""

    job: Job
    shown: bool
    """False for what only other jobs need."""
    state: str
    path: Path | None
    """Of its record, where there is one."""
    record: Record | None

    @property
    def done(self) -> bool:
        """Whether running it again would change nothing."""
        return self.state in (FINISHED, FAILED)

    @property
    def measured(self) -> float | None:
        """Seconds that its record says it took."""
        if self.record is None:
            return None
        return self.record.measured.train_seconds + self.record.measured.test_seconds


@dataclass(frozen=True)
class Plan:
    """The runs of an exhibit, in an order in which they can be done."""

    runs: tuple[PlannedRun, ...]
    estimates: Mapping[tuple[Any, ...], float]
    """Seconds by kind of job, from finished runs on this kind of machine."""
    left_out: tuple[str, ...]
    """Why optional jobs are not in it."""
    unprepared: tuple[str, ...]
    """Why it cannot start: datasets and weights that are not there, with what to do."""

    @property
    def todo(self) -> list[PlannedRun]:
        """What has to be run."""
        return [run for run in self.runs if not run.done]

    def seconds(self, job: Job) -> float:
        """What a job will take, start included."""
        return STARTING + self.estimates.get(job.kind, job.guess)

    def remaining(self, workers: int) -> float:
        """Seconds until everything is done: the work in equal shares, and no less than the longest job."""
        todo = [self.seconds(run.job) for run in self.todo]
        return max([sum(todo) / workers, *todo], default=0.0)

    def table(self) -> str:
        """One line a run, as Markdown."""
        frame = pd.DataFrame([self._line(run) for run in self.runs])
        return frame.to_markdown(index=False, disable_numparse=True)

    def _line(self, run: PlannedRun) -> dict[str, str]:
        job = run.job
        if run.measured is not None:
            time = f"{duration(run.measured)}, measured"
        else:
            source = "as measured in like runs" if job.kind in self.estimates else "guessed"
            time = f"about {duration(self.seconds(job))}, {source}"
        return {"run": job.method, "on": job.on, "seed": str(job.seed), "state": run.state, "time": time}


def make_plan(jobs: Sequence[Job], places: Places, also: Collection[str] = ()) -> Plan:
    """Look at what there is; nothing is written.

    Args:
        jobs: what is to be shown; what they need is added: where they have to run, or it is there anyway.
        places: where things lie.
        also: datasets whose optional jobs are to be run.

    Raises:
        InputError: for a record that cannot be read.
    """
    places = replace(places)  # forget what was found there before
    shown = frozenset(jobs)
    runs: dict[Job, PlannedRun] = {}
    left_out: dict[str, None] = {}
    unprepared: dict[str, None] = {}

    def add(job: Job, needed: bool) -> None:
        run = _look(job, job in shown, places)
        if job in runs or not (run.done or needed):
            return
        if job.optional and not run.done and job.dataset not in also:
            left_out[f"runs on {job.dataset}, which are optional; add them with --also {job.dataset}"] = None
            return
        reason = missing(job.dataset, places.data) if job.dataset and not run.done else ""
        reason = reason or ("" if run.done else job.lacks(places))
        if reason:
            unprepared[reason] = None
        for other in job.dependencies:
            add(other, needed=not run.done)
        runs[job] = run

    for job in jobs:
        add(job, needed=True)
    return Plan(tuple(runs.values()), _estimates(runs.values()), tuple(left_out), tuple(unprepared))


def _look(job: Job, shown: bool, places: Places) -> PlannedRun:
    result, path = job.result(places), job.record_path(places)
    if result is not None and path is not None and result.is_file():
        record = read_record(path).light()
        return PlannedRun(
            job, shown, FAILED if getattr(record.facts, "status", "") == "failed" else FINISHED, path, record
        )
    begun = path is not None and (path.parent / "checkpoint.pt").is_file()
    return PlannedRun(job, shown, INTERRUPTED if begun else MISSING, None, None)


def _estimates(runs: Iterable[PlannedRun]) -> dict[tuple[Any, ...], float]:
    """Mean seconds by kind of job, of runs that finished on one core (or an accelerator) such as are here."""
    device, measured = device_name(choose_device("auto")), {}
    for run in runs:
        record = run.record
        if record and run.state == FINISHED:
            environment = record.facts.environment
            if environment.device == device and environment.threads == 1:
                measured.setdefault(run.job.kind, []).append(run.measured)
    return {kind: float(np.mean(seconds)) for kind, seconds in measured.items()}
