"""Running what is left of a plan on an engine, in an order in which it can be done."""

from __future__ import annotations

import heapq
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from types import TracebackType
from typing import Self

from benchmarks.jobs.engine import Engine
from benchmarks.jobs.kinds import Job, Places
from benchmarks.jobs.plan import FAILED, Plan
from fewshot.console import progress

_POLL_SECONDS = 0.5
_NAMED = 4
"""Jobs under way that progress names."""


def run_jobs(plan: Plan, places: Places, engine: Engine, quiet: bool = False) -> list[str]:
    """Run what is left of a plan; jobs that fail do not stop the others.

    Args:
        plan: what to run.
        places: where things lie.
        engine: what runs it.
        quiet: no progress.

    Returns:
        A text about every job that failed, or could not start because one that it needs failed.
    """
    order = order_of(plan)
    order.prepare()
    failed: dict[Job, str] = {run.job: "" for run in plan.runs if run.state == FAILED}
    waiting: list[tuple[float, int, Job]] = []
    number = {run.job: i for i, run in enumerate(plan.runs)}
    with engine, _UnderWay(plan, places, engine, quiet) as under_way:
        while order.is_active():
            for job in order.get_ready():
                blocked = [other for other in job.dependencies if other in failed]
                if blocked:
                    failed[job] = f"not started, because it needs {blocked[0].method} on {blocked[0].on}"
                    under_way.tell(job, "not started")
                    order.done(job)
                else:  # long ones first, so that no worker ends with a long one while the others have nothing to do
                    heapq.heappush(waiting, (-plan.seconds(job), number[job], job))
            while waiting and under_way.free:
                under_way.start(heapq.heappop(waiting)[2])
            for job, why in under_way.finished():
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


class _UnderWay:
    """Jobs that are being run, a thread waiting for each, and how far all of it is; none outlives the `with` block."""

    def __init__(self, plan: Plan, places: Places, engine: Engine, quiet: bool) -> None:
        self._plan, self._places, self._engine, self._quiet = plan, places, engine, quiet
        self._threads = ThreadPoolExecutor(engine.most)
        self._running: dict[Future[str], tuple[Job, float]] = {}
        self._total, self._done = len(plan.todo), 0
        self._work = sum(plan.seconds(run.job) for run in plan.todo)
        self._worked = 0.0
        self._display = progress(quiet)
        self._task = self._display.add_task("", total=round(self._work), note="")

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()
        if error is not None:
            self._engine.stop()
        self._threads.shutdown()

    @property
    def free(self) -> bool:
        """Whether another job can start."""
        return len(self._running) < self._engine.slots

    def start(self, job: Job) -> None:
        """Start a job."""
        self._running[self._threads.submit(self._engine.run, job, self._places)] = job, time.monotonic()

    def finished(self) -> list[tuple[Job, str]]:
        """Wait a moment for jobs to end: those that did, each with why it failed, empty where it did not."""
        ended = wait(self._running, _POLL_SECONDS, FIRST_COMPLETED).done if self._running else set()
        outcomes = []
        for future in ended:
            job, _ = self._running.pop(future)
            why = future.result()
            outcomes.append((job, why))
            self._worked += self._plan.seconds(job)
            self.tell(job, "failed" if why else "finished")
        self._show()
        return outcomes

    def tell(self, job: Job, what: str) -> None:
        """A line in place of the bar, where there is no terminal to show one."""
        self._done += 1
        if not self._quiet and self._display.disable:
            print(f"{self._done} of {self._total}: {job.method} on {job.on}, seed {job.seed}: {what}", flush=True)

    def _show(self) -> None:
        """The bar counts seconds of work, as planned: runs differ too much to tell from their number what is left."""
        now = time.monotonic()
        under_way = sum(min(now - start, self._plan.seconds(job)) for job, start in self._running.values())
        named = [f"{job.method} seed {job.seed}" for job, _ in list(self._running.values())[:_NAMED]]
        more = [f"{len(self._running) - _NAMED} more"] if len(self._running) > _NAMED else []
        title = f"{self._done} of {self._total} runs, seconds of work"
        completed, words = round(self._worked + under_way), ", ".join([*named, *more])
        self._display.update(self._task, description=title, completed=completed, note=words)
