"""What runs a job: the contract of engines, and the one that uses processes of this machine."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from benchmarks.jobs.kinds import Job, Places
from benchmarks.jobs.launch import GRACE_SECONDS, launch, threads_of_runs
from fewshot.errors import InputError

LOGS = "logs"
"""Folder of the output of all jobs, below that of their results."""
LAST_LINES = 8
"""Of a failed job's output that are shown."""
_POLL_SECONDS = 0.05
STOPPED = "stopped"
"""Why a job ended whose engine was stopped."""


class Engine(Protocol):
    """Runs jobs, several at a time, each from a thread of its own; a context manager, out of which none goes on."""

    @property
    def slots(self) -> int:
        """Jobs that it can be given at a time, now."""
        ...

    most: int
    """That `slots` may become."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, job: Job, places: Places) -> str:
        """Run a job to its end, its results where `places` says: why it failed, "" where it did not."""
        ...

    def stop(self) -> None:
        """End all jobs, so that every `run` returns soon; what they have is saved."""
        ...


def cores_here() -> int:
    """Of this machine, that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Local:
    """Processes of this machine. One that is killed is started again, and goes on from its checkpoint."""

    def __init__(self, workers: int, cores: int = 1, retries: int = 2) -> None:
        """An engine.

        Args:
            workers: jobs at a time.
            cores: that each computes with; 1, unless told, so that no result depends on the number of workers.
            retries: how often a job is started again after it was killed.
        """
        self.slots = self.most = workers
        self._cores, self._retries = cores, retries
        self._stopped, self._lock = False, threading.Lock()
        self._processes: set[BaseProcess] = set()

    def __enter__(self) -> Self:
        with threads_of_runs(self._cores):
            return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """See `Engine`."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        while self._processes and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        with self._lock:
            for process in self._processes:
                process.kill()

    def run(self, job: Job, places: Places) -> str:
        """See `Engine`."""
        log, tries = log_of(job, places), self._retries + 1
        code: int | None = -1
        while tries and code is not None and code < 0:
            code, tries = self._once(job, places, log), tries - 1
        if code is None:
            return STOPPED
        return "" if code == 0 else f"ended with status {code}; {log} ends:\n{tail(log)}"

    def _once(self, job: Job, places: Places, log: Path) -> int | None:
        """The exit status of a process, negative where it was killed; None where the engine was stopped."""
        with self._lock:
            if self._stopped:
                return None
            process = launch(job.module, job.arguments(places), log, self._cores)
            self._processes.add(process)
        process.join()
        with self._lock:
            self._processes.discard(process)
            return None if self._stopped else process.exitcode


def log_of(job: Job, places: Places) -> Path:
    """The file of a job's output; its folder is made.

    Raises:
        InputError: where it cannot be.
    """
    path = places.results / LOGS / f"{job.name}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path.parent}: {error.strerror}; choose another --results") from error
    return path


def tail(path: Path) -> str:
    """The last lines of a file, indented."""
    with contextlib.suppress(OSError):
        return "\n".join(f"    {line}" for line in path.read_text(errors="replace").splitlines()[-LAST_LINES:])
    return ""
