"""Runs as tasks of a Ray cluster: sent from here, computed there, written here, so that no folder has to be shared."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.backbones.experiment import PRETRAINING_NAME
from benchmarks.jobs.engine import STOPPED, log_of, tail
from benchmarks.jobs.kinds import Job, Places
from benchmarks.jobs.launch import GRACE_SECONDS
from benchmarks.jobs.there import CHECKPOINT, FEATURES, ROOT, Kept, Request, Returned, look, run_there
from benchmarks.running.environment import commit, versions
from benchmarks.running.record import RECORD_NAME, read_record
from benchmarks.running.validation import read_validation
from fewshot.data.catalog import open_dataset
from fewshot.errors import InputError
from fewshot.files import only_one, replacing

MOST = 4096
"""Runs under way at a time."""
_POLL_SECONDS = 0.5
_ACTIVITY = "running the same command"


class OnRay:
    """Tasks of a cluster. One whose worker or machine is lost is started again elsewhere."""

    most = MOST

    def __init__(
        self,
        address: str | None = None,
        workers: int = 1,
        cores: int = 1,
        gpus: float = 0.0,
        memory: float | None = None,
        retries: int = 2,
        storage: str | None = None,
        datasets: Sequence[str] = (),
        data: Path = Path("data"),
    ) -> None:
        """See `Executor` for the options.

        Args:
            datasets: that have to be on every machine.
            data: where they lie there.

        Raises:
            InputError: where Ray is not installed.
        """
        self._ray = import_ray()
        self._address, self._workers, self._cores, self._gpus, self._memory = address, workers, cores, gpus, memory
        self._retries, self._storage, self._datasets, self._data = retries, storage, tuple(datasets), data
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self._under_way: set[Any] = set()
        self._inputs: dict[Path, Any] = {}
        self._counted: tuple[float, int] = (0.0, 1)

    def __enter__(self) -> Self:
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "ignore_reinit_error": True}
        try:
            if self._address is None:
                cores = self._workers * self._cores
                self._ray.init(num_cpus=cores, include_dashboard=False, **options)
            else:
                self._ray.init(address=self._address, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"no Ray cluster at {self._address}: {reason}; start one with `ray start --head`, or give none"
            ) from error
        task: dict[str, Any] = {"num_cpus": self._cores, "num_gpus": self._gpus, "max_retries": self._retries}
        if self._memory is not None:
            task["memory"] = int(self._memory * 1e9)
        self._task = self._ray.remote(run_there).options(**task, scheduling_strategy="SPREAD")
        try:
            self._check()
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._ray.shutdown()

    @property
    def slots(self) -> int:
        """As many as the cluster holds now, and one that waits for more machines."""
        asked, slots = self._counted
        if time.monotonic() - asked > _POLL_SECONDS:
            there = self._ray.cluster_resources()
            needed = {"CPU": self._cores, "GPU": self._gpus, "memory": (self._memory or 0.0) * 1e9}
            fits = min(there.get(name, 0.0) // each for name, each in needed.items() if each)
            slots = min(MOST, max(1, int(fits) + (self._address is not None)))
            self._counted = time.monotonic(), slots
        return slots

    def stop(self) -> None:
        """See `Engine`."""
        self._stopped.set()
        with self._lock:
            for task in self._under_way:
                self._ray.cancel(task, force=False)
        deadline = time.monotonic() + GRACE_SECONDS + 5
        while self._under_way and time.monotonic() < deadline:
            time.sleep(0.05)
        with self._lock:
            for task in self._under_way:
                self._ray.cancel(task, force=True)

    def _check(self) -> None:
        """Look at every machine before work starts.

        Raises:
            InputError: where one has other versions of packages, or lacks a dataset, or has another version of it.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        datasets, data, remote = self._datasets, self._data, self._ray.remote(look)
        nodes = [n for n in self._ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= self._cores]
        if not nodes:
            raise InputError(f"no machine of the cluster has {self._cores} cores; give fewer --cores")
        on = {
            f"{n['NodeManagerHostname']} ({n['NodeManagerAddress']})": remote.options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(n["NodeID"], soft=False)
            ).remote(list(datasets), str(data))
            for n in nodes
        }
        ours = {**versions(), "commit": commit() or ""}
        fingerprints = {name: open_dataset(name, data, quiet=True).fingerprint for name in datasets}
        for node, task in on.items():
            theirs, found = self._ray.get(task)
            differing = [
                f"{n} {theirs.get(n, 'not at all')}" for n in {**ours, **theirs} if theirs.get(n) != ours.get(n)
            ]
            if differing:
                raise InputError(
                    f"{node} has {', '.join(differing)}, unlike this machine; install the same on all: results differ"
                )
            for name, fingerprint in found.items():
                if fingerprint.startswith("error: "):
                    raise InputError(f"{node}: {fingerprint.removeprefix('error: ')}")
                if fingerprint != fingerprints[name]:
                    raise InputError(
                        f"{node} has another version of {name} in {data} than this machine; prepare it again on one"
                    )

    def run(self, job: Job, places: Places) -> str:
        """See `Engine`."""
        log, path = log_of(job, places), job.record_path(places)
        with self._held(None if path is None else path.parent) as held:
            if not held:
                return STOPPED
            result = job.result(places)
            if path is not None and path.is_file() and result is not None and result.is_file():
                return ""  # another driver finished it meanwhile
            why = ""
            for _ in range(self._retries + 1):
                try:
                    returned = self._computed(self._request(job, places), self._files(job, places))
                except Exception as error:  # of Ray: a cancelled task, too many lost machines, no room for results
                    if self._stopped.is_set():
                        return STOPPED
                    why = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                    continue
                with log.open("ab") as output:
                    output.write(returned.output)
                if returned.status > 0:
                    return f"ended with status {returned.status} on {returned.node}; {log} ends:\n{tail(log)}"
                try:
                    if returned.status == 0:
                        self._receive(returned, places)
                        self._forget(job, places)
                        return ""
                    why = f"ended with status {returned.status} on {returned.node}; {log} ends:\n{tail(log)}"
                except Damaged as error:
                    why = f"what came back from {returned.node} is damaged: {error}"
            return why

    @contextlib.contextmanager
    def _held(self, folder: Path | None) -> Iterator[bool]:
        """Hold the folder of a run, once no other driver does; yields False where the engine is stopped before."""
        if folder is None:
            yield not self._stopped.is_set()
            return
        with contextlib.ExitStack() as stack:
            while not self._stopped.is_set():
                try:
                    stack.enter_context(only_one(folder, _ACTIVITY))
                except InputError as error:
                    if _ACTIVITY not in str(error):
                        raise
                    self._stopped.wait(_POLL_SECONDS)
                else:
                    yield True
                    return
            yield False

    def _computed(self, request: Request, inputs: Sequence[Any]) -> Returned:
        with self._lock:
            if self._stopped.is_set():
                raise RuntimeError(STOPPED)
            task = self._task.remote(request, *inputs)
            self._under_way.add(task)
        try:
            return self._ray.get(task)
        finally:
            with self._lock:
                self._under_way.discard(task)

    def _request(self, job: Job, places: Places) -> Request:
        root = Path(ROOT)
        there = replace(
            places,
            results=root / "results",
            backbones=root / "backbones",
            features=Path(FEATURES),
            plugin=tuple(f"{ROOT}/plugins/{Path(p).name}" if Path(p).is_file() else p for p in places.plugin),
        )
        path = job.record_path(there)
        folder = None if path is None else path.parent.relative_to(root).as_posix()
        inputs = tuple(_below(path, places) for path in _needed(job, places))
        return Request(job.module, tuple(job.arguments(there)), self._cores, inputs, folder, self._storage)

    def _files(self, job: Job, places: Places) -> list[Any]:
        """References to the contents of what a job needs; each file is put into the object store once."""
        with self._lock:
            for path in _needed(job, places):
                if path not in self._inputs:
                    self._inputs[path] = self._ray.put(path.read_bytes())
            return [self._inputs[path] for path in _needed(job, places)]

    def _receive(self, returned: Returned, places: Places) -> None:
        """Write what came back, records last: they say that the rest is there.

        Raises:
            Damaged: where it is not what was sent; nothing is written.
            InputError: where it cannot be written.
        """
        for name, content in returned.files.items():
            if hashlib.sha256(content).hexdigest() != returned.sha256[name]:
                raise Damaged(f"{name} has another hash")
        records = [name for name in returned.files if name.endswith(".json")]
        if not records:
            raise Damaged("there is no record")
        with tempfile.TemporaryDirectory() as folder:
            for name in records:
                path = Path(folder) / Path(name).name
                path.write_bytes(returned.files[name])
                try:
                    read_record(path) if path.name in (RECORD_NAME, PRETRAINING_NAME) else read_validation(path)
                except InputError as error:
                    raise Damaged(str(error).replace(f"{folder}/", "")) from error
        for name in [*(name for name in returned.files if name not in records), *records]:
            top, _, rest = name.partition("/")
            with replacing({"results": places.results, "backbones": places.backbones}[top] / rest) as temporary:
                temporary.write_bytes(returned.files[name])

    def _forget(self, job: Job, places: Places) -> None:
        """Keep a finished run's checkpoint no longer; of one that stopped on the way, it is what goes on."""
        folder = self._request(job, places).folder
        if self._storage is not None and folder is not None and getattr(job, "stop_at", None) is None:
            with contextlib.suppress(OSError):
                Kept(self._storage, f"{folder}/{CHECKPOINT}").remove()


class Damaged(Exception):
    """What came back is not what was sent."""


def _needed(job: Job, places: Places) -> list[Path]:
    """Files that a job reads: what those before it left, and plug-ins."""
    found = [Path(plugin) for plugin in places.plugin if Path(plugin).is_file()]
    for other in job.dependencies:
        path = other.record_path(places)
        if path is not None:
            found += [path, *path.parent.glob("*.safetensors")]
    return sorted(path for path in dict.fromkeys(found) if path.is_file())


def _below(path: Path, places: Places) -> str:
    """Where a file lies below the folder of a run."""
    for name, folder in (("results", places.results), ("backbones", places.backbones)):
        if path.is_relative_to(folder):
            return f"{name}/{path.relative_to(folder).as_posix()}"
    return f"plugins/{path.name}"


def import_ray() -> Any:
    """Ray, an optional dependency.

    Raises:
        InputError: where it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray; install it with `pip install 'ray>=2.50'`, or use local") from None
    return ray
