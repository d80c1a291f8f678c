"""What an exhibit takes: its jobs, which of them are finished, and how long the others will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.jobs.kinds import Job, Places
from benchmarks.running.device import choose_device, device_name
from benchmarks.running.record import Record
from benchmarks.running.validation import Validation
from fewshot.console import duration
from fewshot.data.catalog import missing

FINISHED, FAILED, INTERRUPTED, MISSING = "finished", "failed", "interrupted", "missing"
LINES = 100
"""Of a plan, above which runs are shown together."""
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
    record: Record | Validation | None

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

    def longest(self) -> float:
        """Seconds that no number of workers makes fewer: of the longest chain of runs that need each other."""
        left = {run.job for run in self.todo}
        ends: dict[Job, float] = {}
        for run in self.todo:  # those that a run needs stand before it
            before = max((ends.get(other, 0.0) for other in run.job.dependencies if other in left), default=0.0)
            ends[run.job] = before + self.seconds(run.job)
        return max(ends.values(), default=0.0)

    @property
    def peak_memory(self) -> int | None:
        """The most bytes that a finished run took; None where none says."""
        taken = [run.record.measured.peak_memory_bytes for run in self.runs if run.record is not None]
        return max((size for size in taken if size is not None), default=None)

    def table(self) -> str:
        """One line a run, as Markdown; of very many, one line for what differs in seeds and settings alone."""
        if len(self.runs) > LINES:
            lines = [self._together(runs) for runs in self._alike().values()]
        else:
            lines = [self._line(run) for run in self.runs]
        return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)

    def _alike(self) -> dict[tuple[Any, ...], list[PlannedRun]]:
        groups: dict[tuple[Any, ...], list[PlannedRun]] = {}
        for run in self.runs:
            groups.setdefault((run.job.kind, run.job.method, run.job.on.partition(": ")[0]), []).append(run)
        return groups

    def _together(self, runs: Sequence[PlannedRun]) -> dict[str, str]:
        job, left = runs[0].job, [run for run in runs if not run.done]
        states = Counter(run.state for run in runs)
        seconds = sum(run.measured or 0.0 for run in runs)
        time = [f"{duration(seconds)}, measured"] * bool(seconds) + [self._about(left[0].job, len(left))] * bool(left)
        seeds = len({run.job.seed for run in runs})
        of = {"run": job.method, "on": job.on.partition(": ")[0], "runs": f"{len(runs)} ({seeds} seeds)"}
        return {**of, "state": ", ".join(f"{n} {state}" for state, n in states.items()), "time": "; ".join(time)}

    def _line(self, run: PlannedRun) -> dict[str, str]:
        job = run.job
        time = f"{duration(run.measured)}, measured" if run.measured is not None else self._about(job)
        return {"run": job.method, "on": job.on, "seed": str(job.seed), "state": run.state, "time": time}

    def _about(self, job: Job, count: int = 1) -> str:
        source = "as measured in like runs" if job.kind in self.estimates else "guessed"
        return f"about {duration(count * self.seconds(job))}, {source}"


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

    @cache
    def lacking(dataset: str) -> str:
        return missing(dataset, places.data)

    def add(job: Job, needed: bool) -> None:
        run = _look(job, job in shown, places)
        if job in runs or not (run.done or needed):
            return
        if job.optional and not run.done and job.dataset not in also:
            left_out[f"runs on {job.dataset}, which are optional; add them with --also {job.dataset}"] = None
            return
        reason = lacking(job.dataset) if job.dataset and not run.done else ""
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
        record = job.read(path)
        state = FAILED if getattr(record.facts, "status", "") == "failed" else FINISHED
        return PlannedRun(job, shown, state, path, record)
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
