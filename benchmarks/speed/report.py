"""Time and memory of `benchmarks.report` on thousands of synthetic records."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.running.identity import config_sha256
from benchmarks.running.record import RECORD_NAME, Record
from benchmarks.running.schema import (
    DatasetFacts,
    Environment,
    FewShotDetails,
    FewShotFacts,
    FewShotResults,
    FewShotTraining,
    GeneralDetails,
    GeneralFacts,
    GeneralResults,
    GeneralTraining,
    ManifestFacts,
    Point,
    ProtocolFacts,
    TestedEpisodes,
    TestedOptimizer,
    TestRun,
)
from fewshot.errors import InputError

_SEEDS = 5
_PENALTY = {"weight": 1.0, "radius": 0.1, "steps": 10}


@dataclass(frozen=True)
class ReportSpeed:
    """Write synthetic records, half of either track, five seeds a row, and report them in a process of its own."""

    records: int = 10_000
    """How many; half of 600 episodes, half of five trainings of 51 points, each with a curve of meta-training."""
    format: tuple[str, ...] = ("md", "csv", "tex", "html", "figures")
    """What is reported, as `benchmarks.report --format`."""
    folder: Path | None = None
    """Where the records are written and removed again (40 kB each); default: the system's temporary folder."""

    def __post_init__(self) -> None:
        if self.records < 1:
            raise InputError(f"records is {self.records}; it must be at least 1")


def measure_report(command: ReportSpeed) -> pd.DataFrame:
    """One line: seconds by the clock and of all processors, and the peak of the process and its readers together.

    Raises:
        InputError: where the report ends with an error.
    """
    with tempfile.TemporaryDirectory(dir=command.folder) as folder:
        runs = Path(folder) / "runs"
        for number, record in enumerate(synthetic_records(command.records)):
            path = runs / str(number) / RECORD_NAME
            path.parent.mkdir(parents=True)
            path.write_bytes(record.encoded())  # in the cache, not flushed to disk one by one
        report = [sys.executable, "-m", "benchmarks.report", str(runs), "--out", folder, "--format", *command.format]
        seconds, processors, peak, status = _measured(report)
    if status:
        raise InputError(f"{' '.join(report)} ended with status {status}")
    names = ("records", "seconds", "seconds of processors", "peak memory (MB)")
    return pd.DataFrame([dict(zip(names, (command.records, seconds, processors, peak), strict=True))])


def _measured(command: list[str]) -> tuple[float, float, float, int]:
    """Seconds by the clock, seconds of processors, largest sum of proportional memory in MB, exit status."""
    before, started = os.times(), time.perf_counter()
    peak = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2]) as process:
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(0.1)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, used, peak, process.returncode


def _memory(process: int) -> float:
    """MB of a process and its children, what they share counted once (Linux; NaN elsewhere)."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return _proportional(process) + sum(map(_memory, map(int, children)))
    except OSError:
        return 0.0 if sys.platform == "linux" else float("nan")


def _proportional(process: int) -> float:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def synthetic_records(count: int) -> Iterator[Record]:
    """Records of both tracks in turn: plain and smoothed rows of five seeds, of ever new test problems."""
    generator = np.random.Generator(np.random.Philox(0))
    for number in range(count):
        make = _general if number % 2 else _few_shot
        row, seed = divmod(number // 2, _SEEDS)
        yield make(generator, row // 2, ("none", "smooth")[row % 2], seed)


def _few_shot(generator: np.random.Generator, group: int, regularizer: str, seed: int) -> Record:
    """Groups share 20 datasets and differ in their ways and learners."""
    dataset, way = f"synthetic{group % 20}", 5 + group // 20 % 5
    config = {
        "method": "meta_lstm",
        "dataset": dataset,
        "way": way,
        "shot": 1,
        "query": 15,
        "regularizer": regularizer,
        "penalty": _PENALTY if regularizer != "none" else None,
        "learner": {"inner_epochs": 12, "filters": 32, "hidden_size": 20 + group // 100},
        "training": {"episodes": 5000, "meta_rate": 1e-3},
        "test": {"episodes": 600, "seed": 0},
    }
    size = {"dataset": dataset, "fingerprint": config_sha256({"name": dataset}), "way": way, "shot": 1, "query": 15}
    facts = FewShotFacts(
        **_common(config, seed, dataset),
        transductive=False,
        backbone=None,
        manifests={"test": ManifestFacts(**size, split="test", seed=0, count=600, sha256=config_sha256(size))},
        queries_per_episode=15 * way,
        training=FewShotTraining(episode=1000, skipped=0, best_episode=900, best_accuracy=0.6),
    )
    correct = generator.integers(6 * way, 12 * way, (2, 600)).tolist()
    best, last = (TestedEpisodes(episode=900, correct=values) for values in correct)
    details = FewShotDetails(curve=_curve(generator, "episode"), validation=[])
    return Record.of(facts, FewShotResults(best=best, last=last), details)


def _general(generator: np.random.Generator, group: int, regularizer: str, seed: int) -> Record:
    task = f"synthetic{group}"
    config = {
        "optimizer": "simple",
        "task": task,
        "regularizer": regularizer,
        "penalty": _PENALTY if regularizer != "none" else None,
        "core": {"hidden_size": 20, "layers": 2},
        "training": {"unrolls": 1000, "truncation": 20},
        "test": {"steps": 50, "initializations": 5, "seed": 0, "points": 50},
        "transfer": None,
    }
    size = {"task": task, "dataset": task, "fingerprint": config_sha256({"name": task}), **config["test"]}
    facts = GeneralFacts(
        **_common(config, seed, task),
        protocol=ProtocolFacts(**size, batch_size=128, task_facts={}, sha256=config_sha256({"task": task})),
        training=GeneralTraining(
            unroll=1000, skipped=0, best_unroll=900, best_loss=0.3, last_loss=0.31, exploded=0.1, clipped=0.5
        ),
        lipschitz=0.5,
    )
    best, last = (TestedOptimizer(unroll=900, runs=[_training(generator, i) for i in range(5)]) for _ in range(2))
    details = GeneralDetails(curve=_curve(generator, "unroll"))
    return Record.of(facts, GeneralResults(best=best, last=last), details)


def _common(config: dict[str, Any], seed: int, dataset: str) -> dict[str, Any]:
    return {
        "config": config,
        "config_sha256": config_sha256(config),
        "seed": seed,
        "dataset": DatasetFacts(name=dataset, fingerprint=config_sha256({"name": dataset})),
        "environment": Environment(versions={"synthetic": "1"}, commit=None, device="cpu", threads=1),
        "status": "finished",
        "failure": None,
        "meta_parameters": 440,
    }


def _curve(generator: np.random.Generator, clock: str) -> list[Point]:
    losses = generator.random(100).tolist()
    return [{clock: 10.0 * i, "loss": loss, "penalty": 0.1} for i, loss in enumerate(losses)]


def _training(generator: np.random.Generator, initialization: int) -> TestRun:
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    curves = dict(zip(names, generator.random((4, 51)).tolist(), strict=True))
    return TestRun(initialization=initialization, diverged_at=None, step=list(range(51)), **curves)
