"""Running jobs as processes, a few at a time."""

from __future__ import annotations

import contextlib
import heapq
import os
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from pathlib import Path

from benchmarks.paper.jobs import Job, Places
from benchmarks.paper.plan import FAILED, Plan
from fewshot.console import progress

LOGS = "logs"
"""Folder of the output of all jobs, below that of their results."""
LAST_LINES = 8
"""Of a failed job's output that are shown."""
_POLL_SECONDS = 0.5
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
    order = order_of(plan)
    order.prepare()
    failed: dict[Job, str] = {run.job: "" for run in plan.runs if run.state == FAILED}
    waiting: list[tuple[float, int, Job]] = []
    number = {run.job: i for i, run in enumerate(plan.runs)}
    crew = _Crew(plan, places, workers, quiet)
    with crew:
        while order.is_active():
            for job in order.get_ready():
                blocked = [other for other in job.dependencies if other in failed]
                if blocked:
                    failed[job] = f"not started, because it needs {blocked[0].method} on {blocked[0].on}"
                    crew.tell(job, "not started")
                    order.done(job)
                else:  # long ones first, so that no worker ends with a long one while the others have nothing to do
                    heapq.heappush(waiting, (-plan.seconds(job), number[job], job))
            while waiting and crew.free:
                crew.start(heapq.heappop(waiting)[2])
            for job, why in crew.finished():
                if why:
                    failed[job] = why
                order.done(job)
    return [f"{job.method} on {job.on}, seed {job.seed}: {why}" for job, why in failed.items() if why]


def order_of(plan: Plan) -> TopologicalSorter[Job]:
    """The jobs that are left, each after those that it needs and the first that leaves what it would make too."""
    left = {run.job: None for run in plan.todo}
    made = {"", *(run.job.leaves for run in plan.runs if run.done)}
    first: dict[str, Job] = {}
    graph: dict[Job, list[Job]] = {}
    for job in left:
        before = [other for other in job.dependencies if other in left]
        if job.leaves not in made and first.setdefault(job.leaves, job) is not job:
            before.append(first[job.leaves])
        graph[job] = before
    return TopologicalSorter(graph)


class _Crew:
    """Processes under way, a thread waiting for each; none outlives the `with` block."""

    def __init__(self, plan: Plan, places: Places, workers: int, quiet: bool) -> None:
        self._plan, self._places, self._workers, self._quiet = plan, places, workers, quiet
        self._threads = ThreadPoolExecutor(workers)
        self._processes: dict[Job, subprocess.Popen[bytes]] = {}
        self._running: dict[Future[int], tuple[Job, float]] = {}
        self._total, self._done = len(plan.todo), 0
        self._work = sum(plan.seconds(run.job) for run in plan.todo)
        self._worked = 0.0
        self._display = progress(quiet)
        self._task = self._display.add_task("", total=round(self._work), note="")

    def __enter__(self) -> _Crew:
        self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_SECONDS)
            process.kill()
        self._threads.shutdown()
        self._display.stop()

    @property
    def free(self) -> bool:
        """Whether another job can start."""
        return len(self._running) < self._workers

    def start(self, job: Job) -> None:
        """Start a job."""
        path = self._log(job)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", job.module, *job.arguments(self._places)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},  # so that no result depends on the number of workers
                start_new_session=True,  # ctrl-C is ours to pass on
            )
        self._processes[job] = process
        self._running[self._threads.submit(process.wait)] = job, time.monotonic()

    def finished(self) -> list[tuple[Job, str]]:
        """Wait a moment for jobs to end: those that did, each with why it failed, empty where it did not."""
        ended = wait(self._running, _POLL_SECONDS, FIRST_COMPLETED).done if self._running else set()
        outcomes = []
        for future in ended:
            job, _ = self._running.pop(future)
            del self._processes[job]
            code, log = future.result(), self._log(job)
            outcomes.append((job, f"ended with status {code}; {log} ends:\n{_tail(log)}" if code else ""))
            self._worked += self._plan.seconds(job)
            self.tell(job, "failed" if code else "finished")
        self._show()
        return outcomes

    def tell(self, job: Job, what: str) -> None:
        """A line in place of the bar, where there is no terminal to show one."""
        self._done += 1
        if not self._quiet and self._display.disable:
            print(f"{self._done} of {self._total}: {job.method} on {job.on}, seed {job.seed}: {what}", flush=True)

    def _log(self, job: Job) -> Path:
        return self._places.results / LOGS / f"{job.name}.log"

    def _show(self) -> None:
        """The bar counts seconds of work, as planned: runs differ too much to tell from their number what is left."""
        now = time.monotonic()
        under_way = sum(min(now - start, self._plan.seconds(job)) for job, start in self._running.values())
        words = ", ".join(f"{job.method} seed {job.seed}" for job, _ in self._running.values())
        title = f"{self._done} of {self._total} runs, seconds of work"
        self._display.update(self._task, description=title, completed=round(self._worked + under_way), note=words)


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(f"    {line}" for line in path.read_text(errors="replace").splitlines()[-LAST_LINES:])
    return ""
