"""Runs on a cluster of two machines, which this one plays: whatever is lost, tables are those of serial runs."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.jobs.engine import Local
from benchmarks.jobs.kinds import FewShotJob, Job, OptimizeJob, Places, TransferJob
from benchmarks.jobs.plan import make_plan
from benchmarks.jobs.schedule import run_jobs
from benchmarks.report import ReportCommand, write_report
from benchmarks.reporting.read import load
from benchmarks.running.record import read_record
from scripts import Script

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
from benchmarks.jobs.on_ray import OnRay  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

FEW_SHOT = "--dataset glyphs --way 5 --shot 1 --training.episodes 6 --training.validate-every 3"
FEW_SHOT += " --training.validation-episodes 3 --test.episodes 4"
QUADRATIC = "--task quadratic --training.unrolls 400 --training.horizon 20 --training.validate-every 50 --steps 20"
QUADRATIC += " --checkpoint-seconds 0.05"
TESTED = "--test.initializations 2"


def table2() -> list[Job]:
    """Table 2 in small, plain and smoothed; and optimizers, one of which is tested elsewhere than it is trained."""
    few_shot = [FewShotJob((*FEW_SHOT.split(), "--regularizer", r)) for r in ("none", "smooth")]
    trained = [OptimizeJob((*QUADRATIC.split(), *TESTED.split()), seed) for seed in (0, 1)]
    tested = TransferJob(("--task", "quadratic", "--steps", "30", *TESTED.split()), source=trained[0])
    return [*few_shot, *trained, tested]


def until(there: Callable[[], object], seconds: float = 240.0) -> bool:
    deadline = time.monotonic() + seconds
    while not there() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(there())


def outcome(places: Places, out: Path) -> dict[str, Any]:
    """Everything of the runs of `table2` that has to be the same: digests, weights, tables."""
    plan = make_plan(table2(), places)
    assert {run.state for run in plan.runs} == {"finished"}
    paths = [run.path for run in plan.runs if run.path is not None]
    write_report(load(paths), ReportCommand(out=out, format=("md", "csv", "tex")))
    weights = {p.relative_to(places.results): p.read_bytes() for p in places.results.rglob("*.safetensors")}
    tables = {name: (out / f"tables.{name}").read_bytes() for name in ("md", "csv", "tex")}
    return {"digests": [read_record(path).digest for path in paths], "weights": weights, "tables": tables}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def serial(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process after the other gives on this machine."""
    folder = tmp_path_factory.mktemp("serial")
    places = Places(folder / "runs", data)
    assert not run_jobs(make_plan(table2(), places), places, Local(1), quiet=True)
    return outcome(places, folder / "out")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines, of a core each."""
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def engine(cluster: Any, data: Path, **options: Any) -> OnRay:
    return OnRay(cluster.address, datasets=("glyphs",), data=data, **options)


def test_two_machines_give_what_serial_runs_give(cluster: Any, data: Path, serial: Any, tmp_path: Path) -> None:
    places = Places(tmp_path / "runs", data)
    assert not run_jobs(make_plan(table2(), places), places, engine(cluster, data), quiet=True)
    assert outcome(places, tmp_path / "out") == serial
    assert not list(Path(tmp_path).rglob("checkpoint.pt")), "it stayed where it was made"


def test_what_comes_back_damaged_is_asked_for_again_and_a_killed_run_too(
    cluster: Any, data: Path, serial: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, mark = Places(tmp_path / "runs", data), tmp_path / "mark"
    computed, broken = OnRay._computed, []

    def damaging(self: OnRay, request: Any, inputs: Any) -> Any:
        """The first record of every run comes back with one bit flipped: on the way, then before it was sealed."""
        returned = computed(self, request, inputs)
        name = next((name for name in returned.files if name.endswith("record.json")), None)
        if name is None or broken.count(request.arguments) == 2:
            return returned
        broken.append(request.arguments)
        content = returned.files[name].replace(b'"seed":', b'"seed": ', 1)[:-3]
        sha256 = dict(returned.sha256)
        if broken.count(request.arguments) == 2:
            sha256[name] = hashlib.sha256(content).hexdigest()
        return replace(returned, files={**returned.files, name: content}, sha256=sha256)

    monkeypatch.setattr(OnRay, "_computed", damaging)
    jobs = [job for job in table2() if isinstance(job, OptimizeJob)]
    assert not run_jobs(make_plan(jobs, places), places, engine(cluster, data), quiet=True)
    assert len(broken) == 2 * len(jobs)
    digests = [read_record(run.path).digest for run in make_plan(jobs, places).runs if run.path is not None]
    assert digests == serial["digests"][-len(jobs) :]

    once = f"import os; os.path.exists({str(mark)!r}) or (open({str(mark)!r}, 'w'), os.kill(os.getpid(), 9))"
    killed = Script((once,), label="killed")
    (why,) = run_jobs(make_plan([killed], places), places, engine(cluster, data), quiet=True)
    assert "there is no record" in why, "it was started again, and ended; a script leaves no record"
    assert mark.exists()


def test_two_drivers_run_nothing_twice(cluster: Any, data: Path, serial: Any, tmp_path: Path) -> None:
    places = Places(tmp_path / "runs", data)
    jobs = [job for job in table2() if isinstance(job, OptimizeJob)]
    first, second = (make_plan(jobs, places) for _ in range(2))
    calls = []

    class Counting(OnRay):
        def _computed(self, request: Any, inputs: Any) -> Any:
            calls.append(request.arguments)
            return super()._computed(request, inputs)

        def __exit__(self, *_: Any) -> None:
            self.stop()

    def run(plan: Any) -> None:
        assert not run_jobs(plan, places, Counting(cluster.address, datasets=("glyphs",), data=data), quiet=True)

    threads = [threading.Thread(target=run, args=[plan]) for plan in (first, second)]
    ray.init(address=cluster.address, log_to_driver=False)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ray.shutdown()
    assert len({*calls}) == len(jobs)
    assert len(calls) - len({*calls}) <= 1, "what is only tested has a folder that nobody knows before"


def test_a_machine_with_other_data_or_without_is_refused(cluster: Any, data: Path, tmp_path: Path) -> None:
    from benchmarks.jobs import there

    for name in ("mini_imagenet", "tiered_imagenet"):
        _, found = there.look([name], str(tmp_path))
        assert f"python -m data_prep.{name}" in found[name]
    versions, found = there.look(["glyphs"], str(data))
    assert len(found["glyphs"]) == 64
    assert "torch" in versions


def test_a_machine_removed_half_way_changes_nothing(cluster: Any, data: Path, serial: Any, tmp_path: Path) -> None:
    """The last test here: one machine is left."""
    places, storage = Places(tmp_path / "runs", data), tmp_path / "storage"
    second = cluster.worker_nodes.copy().pop()
    on = engine(cluster, data, storage=str(storage), retries=4)
    removed = []

    def remove() -> None:
        assert until(lambda: len(list(storage.rglob("checkpoint.pt"))) > 1)
        cluster.remove_node(second, allow_graceful=False)
        removed.append(True)

    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    assert not run_jobs(make_plan(table2(), places), places, on, quiet=True)
    thread.join()
    assert removed
    assert outcome(places, tmp_path / "out") == serial
    interruptions = [read_record(path).measured.interruptions for path in places.results.rglob("record.json")]
    assert sum(interruptions) >= 1, "what the lost machine was at went on from its checkpoint"
    assert not list(storage.rglob("checkpoint.pt")), "finished runs need none"
