"""What an experiment takes: its jobs, which of them are finished, and how long the others will take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.paper.jobs import Job, Places
from benchmarks.running.device import choose_device, device_name
from benchmarks.running.record import read_record
from fewshot.data.catalog import missing

FINISHED, FAILED, INTERRUPTED, MISSING = "finished", "failed", "interrupted", "missing"
STARTING = 5.0
"""Seconds before a command does anything, guessed: Python, torch and the data."""


@dataclass(frozen=True)
class Step:
    """A job, and how far it is."""

    job: Job
    shown: bool
    """False for what only other jobs need."""
    state: str
    path: Path | None
    """Of its record, where there is one."""
    record: Mapping[str, Any] | None

    @property
    def done(self) -> bool:
        """Whether running it again would change nothing."""
        return self.state in (FINISHED, FAILED)

    @property
    def measured(self) -> float | None:
        """Seconds that its record says it took."""
        if self.record is None:
            return None
        measured = self.record["measured"]
        return measured["train_seconds"] + measured.get("test_seconds", 0.0)


@dataclass(frozen=True)
class Plan:
    """The steps of an experiment, in an order in which they can be run."""

    steps: tuple[Step, ...]
    estimates: Mapping[tuple[Any, ...], float]
    """Seconds by kind of job, from finished runs on this kind of machine."""
    left_out: tuple[str, ...]
    """Why optional jobs are not in it."""
    unprepared: tuple[str, ...]
    """Why it cannot start: datasets and weights that are not there, with what to do."""

    @property
    def todo(self) -> list[Step]:
        """What has to be run."""
        return [step for step in self.steps if not step.done]

    def seconds(self, job: Job) -> float:
        """What a job will take, start included."""
        return STARTING + self.estimates.get(job.kind, job.guess)

    def remaining(self, workers: int) -> float:
        """Seconds until everything is done: the work in equal shares, and no less than the longest job."""
        todo = [self.seconds(step.job) for step in self.todo]
        return max([sum(todo) / workers, *todo], default=0.0)

    def table(self) -> str:
        """One line a step, as Markdown."""
        frame = pd.DataFrame([self._line(step) for step in self.steps])
        return frame.to_markdown(index=False, disable_numparse=True)

    def _line(self, step: Step) -> dict[str, str]:
        job = step.job
        if step.measured is not None:
            time = f"{step.measured:.0f} s, measured"
        else:
            source = "as measured in like runs" if job.kind in self.estimates else "guessed"
            time = f"about {self.seconds(job):.0f} s, {source}"
        return {"run": job.method, "on": job.on, "seed": str(job.seed), "state": step.state, "time": time}


def make_plan(jobs: Sequence[Job], places: Places) -> Plan:
    """Look at what there is; nothing is written.

    Args:
        jobs: what is to be shown; what they need is added: where they have to run, or it is there anyway.
        places: where things lie.

    Raises:
        InputError: for a record that cannot be read.
    """
    places = replace(places)  # forget what was found there before
    shown = frozenset(jobs)
    steps: dict[Job, Step] = {}
    left_out: dict[str, None] = {}
    unprepared: dict[str, None] = {}

    def add(job: Job, needed: bool) -> None:
        step = _look(job, job in shown, places)
        if job in steps or not (step.done or needed):
            return
        reason = missing(job.dataset, places.data) if job.dataset and not step.done else ""
        if reason and job.optional:
            left_out[reason] = None
            return
        reason = reason or ("" if step.done else job.lacks(places))
        if reason:
            unprepared[reason] = None
        for other in job.dependencies:
            add(other, needed=not step.done)
        steps[job] = step

    for job in jobs:
        add(job, needed=True)
    return Plan(tuple(steps.values()), _estimates(steps.values()), tuple(left_out), tuple(unprepared))


def _look(job: Job, shown: bool, places: Places) -> Step:
    result, path = job.result(places), job.record_path(places)
    if result is not None and path is not None and result.is_file():
        record = read_record(path)
        return Step(job, shown, FAILED if record.get("status") == "failed" else FINISHED, path, record)
    begun = path is not None and (path.parent / "checkpoint.pt").is_file()
    return Step(job, shown, INTERRUPTED if begun else MISSING, None, None)


def _estimates(steps: Iterable[Step]) -> dict[tuple[Any, ...], float]:
    """Mean seconds by kind of job, of runs that finished on one core (or an accelerator) such as are here."""
    device, found = device_name(choose_device("auto")), {}
    for step in steps:
        record = step.record
        if record and step.state == FINISHED and record["device"] == device and record["threads"] == 1:
            found.setdefault(step.job.kind, []).append(step.measured)
    return {kind: float(np.mean(seconds)) for kind, seconds in found.items()}
