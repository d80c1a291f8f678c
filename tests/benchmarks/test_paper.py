"""The paper's tables and figures by name: plans, and small experiments from end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.device import choose_device, device_name
from benchmarks.paper.__main__ import main
from benchmarks.paper.execute import LOGS
from benchmarks.paper.experiments import EXPERIMENTS, QUICK, Experiment
from benchmarks.paper.jobs import FewShotJob, Job, OptimizeJob, Places, PretrainJob, TransferJob
from benchmarks.paper.plan import STARTING, make_plan
from benchmarks.record import read_record, write_record
from fewshot.console import run_command

TINY = "--training.unrolls 2 --training.horizon 20 --training.validate-every 2 --steps 20 --test.initializations 2"
SCALES = [(name, scale) for name, scales in EXPERIMENTS.items() for scale in scales]


def tiny_jobs(seeds) -> list[Job]:
    words = [("--task", "quadratic", "--regularizer", regularizer, *TINY.split()) for regularizer in ("none", "smooth")]
    trained = [OptimizeJob(w, seed) for w in words for seed in seeds]
    test = ("--task", "quadratic", "--steps", "30", "--test.initializations", "2")
    return [*trained, *(TransferJob(test, job.seed, source=job) for job in trained[:1])]


def arguments(folder: Path, *more: str, name: str = "figure3") -> list[str]:
    places = [word for name in ("results", "data", "backbones", "features", "out")
              for word in (f"--{name}", str(folder / name))]  # fmt: skip
    return [name, *places, *more]


@pytest.fixture
def tiny_experiment(monkeypatch: pytest.MonkeyPatch):
    """Makes figure3 an experiment of given jobs."""

    def make(jobs) -> None:
        experiment = Experiment("tiny", jobs, (0,), ("curves", "smoothness"))
        monkeypatch.setitem(EXPERIMENTS, "figure3", {QUICK: experiment})

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    """The folder of a small experiment that was run with two workers, and what was printed."""
    folder = tmp_path_factory.mktemp("paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXPERIMENTS, "figure3", {QUICK: Experiment("tiny", tiny_jobs, (0,), ("curves",))})
        main(arguments(folder, "--workers", "2", "--quiet"))
    return folder
