"""Options of every command that runs jobs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from benchmarks.jobs.engine import Engine, Local, cores_here
from benchmarks.jobs.kinds import Places
from benchmarks.jobs.plan import Plan
from fewshot.console import duration
from fewshot.errors import InputError


@dataclass(frozen=True)
class Executor:
    """Where runs are carried out, and with what each. None of these options decides a result but `cores`."""

    engine: Literal["local", "ray"] = "local"
    """local: processes of this machine; ray: tasks of a Ray cluster (extra `distributed`; docs/clusters.md)."""
    address: str | None = None
    """Of the Ray cluster: auto, or HOST:PORT; None: one on this machine for as long as the command lasts."""
    workers: int = cores_here()
    """Runs at a time on this machine."""
    cores: int = 1
    """Of each run, which computes with as many threads."""
    gpus: float = 0.0
    """Of each run, on Ray; 0.5 lets two share one."""
    memory: float | None = None
    """GB that Ray keeps for each run; None: not counted."""
    retries: int = 2
    """How often a run is started again whose process or machine was lost."""
    storage: str | None = None
    """Folder that all machines share, or fsspec URL, for checkpoints, from which a lost run goes on elsewhere."""

    def __post_init__(self) -> None:
        for name, low in (("workers", 1), ("cores", 1), ("gpus", 0), ("retries", 0)):
            if not low <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise InputError(f"gpus is {self.gpus}; give a fraction of one, or a whole number")
        if self.memory is not None and not 0 < self.memory < math.inf:
            raise InputError(f"memory is {self.memory}; it must be positive and finite")
        only = [name for name in ("address", "gpus", "memory", "storage") if getattr(self, name)]
        if self.engine == "local" and only:
            raise InputError(f"{only[0]} is {getattr(self, only[0])}, which is for --engine ray; add that")

    def summary(self, plan: Plan) -> str:
        """What a plan will take, in a few lines."""
        lines = [f"left out: {reason}" for reason in plan.left_out]
        if not plan.todo:
            return "\n".join([*lines, f"all {len(plan.runs)} runs are finished"])
        left = f"{len(plan.todo)} of {len(plan.runs)} runs are left"
        if self.engine == "ray":
            return "\n".join([*lines, f"{left}; {self._needs(plan)}"])
        time = duration(plan.remaining(self.workers))
        return "\n".join([*lines, f"{left}, about {time} with {self.workers} at a time"])

    def _needs(self, plan: Plan) -> str:
        """What a cluster has to have for a plan, and how long it takes then."""
        each = [f"{self.cores} core{'s' * (self.cores > 1)}"]
        each += [f"{self.gpus:g} GPU"] * bool(self.gpus)
        peak = plan.peak_memory
        if self.memory is not None:
            each.append(f"{self.memory:g} GB")
        else:
            each.append("memory that no finished run tells" if peak is None else f"{peak / 1e9:.1f} GB, as measured")
        work, chain = sum(plan.seconds(run.job) for run in plan.todo), plan.longest()
        most = min(len(plan.todo), math.ceil(work / chain))
        times = [f"{n} at a time: {duration(max(work / n, chain))}" for n in sorted({1, math.ceil(most / 4), most})]
        return (
            f"each takes {', '.join(each)}; {work / 3600:,.1f} hours of it in all; longest chain {duration(chain)};"
            f" about, with {'; '.join(times)}; more at a time gain nothing"
        )

    def engine_for(self, plan: Plan, places: Places) -> Engine:
        """What runs a plan; of a cluster, its machines are looked at first.

        Raises:
            InputError: where there is no Ray, no cluster, or a machine of it that is not prepared.
        """
        if self.engine == "local":
            return Local(self.workers, self.cores, self.retries)
        from benchmarks.jobs.on_ray import OnRay  # an optional dependency

        datasets = dict.fromkeys(run.job.dataset for run in plan.todo if run.job.dataset is not None)
        tasks = (self.address, self.workers, self.cores, self.gpus, self.memory, self.retries, self.storage)
        return OnRay(*tasks, datasets=tuple(datasets), data=places.data)
