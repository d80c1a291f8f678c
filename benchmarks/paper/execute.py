"""Running jobs as processes, a few at a time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from benchmarks.paper.jobs import Job, Places
from benchmarks.paper.plan import FAILED, Plan
from fewshot.console import progress

LOGS = "logs"
"""Folder of the output of all jobs, below that of their results."""
LAST_LINES = 8
"""Of a failed job's output that are shown."""
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0


def run_jobs(plan: Plan, places: Places, workers: int, quiet: bool = False) -> list[str]:
    """Run what is left of a plan, each job on one core; jobs that fail do not stop the others.

    Args:
        plan: what to run.
        places: where things lie.
        workers: jobs at a time.
        quiet: no progress.

    Returns:
        A text about every job that failed, or could not start because one that it needs failed.
    """
    with _terminable(), _Crew(plan, places, quiet) as crew:
        while crew.waiting or crew.running:
            crew.start(workers)
            time.sleep(_POLL_SECONDS)
            crew.collect()
        return crew.failures


class _Crew:
    """Processes under way; none outlives the `with` block."""

    def __init__(self, plan: Plan, places: Places, quiet: bool) -> None:
        self.plan, self.places = plan, places
        # long ones first, so that no worker ends with a long one while the others have nothing to do
        self.waiting: list[Job] = sorted((step.job for step in plan.todo), key=plan.seconds, reverse=True)
        self.running: dict[Job, tuple[subprocess.Popen[bytes], float]] = {}
        self.failures: list[str] = []
        self._failed: set[Job] = {step.job for step in plan.steps if step.state == FAILED}
        self._left = {"", *(step.job.leaves for step in plan.steps if step.done)}
        self._total, self._work = len(self.waiting), sum(map(plan.seconds, self.waiting))
        self._display = progress(quiet)
        self._task = self._display.add_task("", total=round(self._work), note="")
        self._lines = not quiet and self._display.disable
        self._show()

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process, _ in self.running.values():
            process.terminate()
        for process, _ in self.running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
            process.kill()
            process.wait()
        self._display.stop()

    def start(self, workers: int) -> None:
        """Start jobs while there are workers and jobs that can start."""
        for job in list(self.waiting):
            blocked = [other for other in job.dependencies if other in self._failed]
            if blocked:
                self.waiting.remove(job)
                self._fail(job, f"not started, because it needs {blocked[0].method} on {blocked[0].on}")
            elif len(self.running) < workers and self._can_start(job):
                self.waiting.remove(job)
                self.running[job] = self._process(job), time.monotonic()

    def _can_start(self, job: Job) -> bool:
        unfinished = {*self.waiting, *self.running}
        if any(other in unfinished for other in job.dependencies):
            return False
        return job.leaves in self._left or all(job.leaves != other.leaves for other in self.running)

    def _process(self, job: Job) -> subprocess.Popen[bytes]:
        path = self._log(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", job.module, *job.arguments(self.places)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},  # so that no result depends on the number of workers
                start_new_session=True,  # ctrl-C is ours to pass on
            )

    def _log(self, job: Job) -> Path:
        return self.places.results / LOGS / f"{job.name}.log"

    def collect(self) -> None:
        """Take note of jobs that ended."""
        for job, (process, _) in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[job]
            if code:
                self._fail(job, f"ended with status {code}; {self._log(job)} ends:\n{_tail(self._log(job))}")
            else:
                self._left.add(job.leaves)
                self._tell(job, "finished")
        self._show()

    def _fail(self, job: Job, why: str) -> None:
        self._failed.add(job)
        self.failures.append(f"{job.method} on {job.on}, seed {job.seed}: {why}")
        self._tell(job, "failed")

    def _tell(self, job: Job, what: str) -> None:
        """A line in place of the bar, where there is no terminal to show one."""
        if self._lines:
            done = self._total - len(self.waiting) - len(self.running)
            print(f"{done} of {self._total}: {job.method} on {job.on}, seed {job.seed}: {what}", flush=True)

    def _show(self) -> None:
        """The bar counts seconds of work, as planned: runs differ too much to tell from their number what is left."""
        now = time.monotonic()
        left = sum(map(self.plan.seconds, self.waiting))
        left += sum(max(self.plan.seconds(job) - (now - started), 0.0) for job, (_, started) in self.running.items())
        done = self._total - len(self.waiting) - len(self.running)
        note = ", ".join(f"{job.method} seed {job.seed}" for job in self.running)
        title = f"{done} of {self._total} runs, seconds of work"
        self._display.update(self._task, description=title, completed=round(self._work - left), note=note)


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(f"    {line}" for line in path.read_text(errors="replace").splitlines()[-LAST_LINES:])
    return ""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM acts as ctrl-C, so that no child is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
