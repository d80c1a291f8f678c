"""The general track: `python -m benchmarks.optimize --optimizer simple --smooth --task digits_mlp`."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.few_shot.config import config_sha256
from benchmarks.general.command import OptimizeCommand, parse, run_folder
from benchmarks.general.config import OptimizeConfig
from benchmarks.general.observe import OptimizeObserver
from benchmarks.general.rows import table
from benchmarks.run import discard
from benchmarks.running.device import choose_device, device_name
from benchmarks.running.record import RECORD_NAME, commit, peak_memory, read_record, versions, write_record
from fewshot.console import run_command
from fewshot.engine.checkpoint import snapshot
from fewshot.engine.few_shot import MetaTrainingFailed
from fewshot.engine.general import UnrollOptions, UnrollTrainer
from fewshot.errors import InputError
from fewshot.files import only_one
from fewshot.general.evaluate import points, train
from fewshot.general.hand_designed import GridOptions, choose_rate, hand_designed
from fewshot.general.stepping import LearnedStepper, StepperFactory
from fewshot.general.tasks import Problem, Stage, Task, open_task
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.optimizers.analysis import zero_state_response
from fewshot.optimizers.optimizer_file import OptimizerCard, save_optimizer
from fewshot.regularizers import REGULARIZERS
from fewshot.seeding import derive


class Experiment:
    """One configuration with one seed: what learned and hand-designed optimizers share."""

    def __init__(self, config: OptimizeConfig, seed: int, task: Task, folder: Path, device: torch.device) -> None:
        self.config, self.seed, self.task, self.folder, self.device = config, seed, task, folder, device

    def execute(self, command: OptimizeCommand) -> dict[str, Any]:
        """Do the work and return the record."""
        raise NotImplementedError

    def protocol(self) -> dict[str, Any]:
        """What decides the test problems and their batches, with its hash."""
        test = self.config.test
        name, fingerprint = self.task.dataset
        found = {
            "task": self.config.task,
            "dataset": name,
            "fingerprint": fingerprint,
            "steps": test.steps,
            "initializations": test.initializations,
            "seed": test.seed,
            "points": test.points,
            "batch_size": self.config.training.batch_size,
            **self.task.facts(),
        }
        return {**found, "sha256": config_sha256(found)}

    def problems(self, stage: Stage, count: int) -> list[Problem]:
        """Fixed problems of a stage, the same for every optimizer and seed."""
        size = self.config.training.batch_size
        return [self.task.problem(stage, derive(self.config.test.seed, stage, i), size) for i in range(count)]

    def curves(self, start: StepperFactory, observer: OptimizeObserver, what: str) -> list[dict[str, Any]]:
        """A curve per test problem."""
        test = self.config.test
        observer.begin(f"test, {what}", test.initializations)
        runs = []
        for number, problem in enumerate(self.problems("test", test.initializations)):
            curve = train(problem, start, test.steps, points(test.steps, test.points))
            runs.append({"initialization": number, **curve.to_dict()})
            observer.advance()
        return runs

    def write(self, results: dict[str, Any], failure: str | None, measured: dict[str, Any]) -> dict[str, Any]:
        """Complete the record and write it."""
        name, fingerprint = self.task.dataset
        record = {
            "track": "general",
            "status": "failed" if failure else "finished",
            "failure": failure,
            "config": self.config.to_dict(),
            "config_sha256": self.config.sha256(),
            "seed": self.seed,
            "dataset": {"name": name, "fingerprint": fingerprint, "pixels": self.task.pixels},
            "protocol": self.protocol(),
            "versions": versions(),
            "commit": commit(),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            **results,
        }
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        return write_record(
            self.folder / RECORD_NAME, record, {**measured, "peak_memory_bytes": peak_memory(), "finished": finished}
        )


class HandDesigned(Experiment):
    """Choose the learning rate on validation problems, then test."""

    def execute(self, command: OptimizeCommand) -> dict[str, Any]:
        """Run and record."""
        options = self.config.training
        assert isinstance(options, GridOptions)
        started, name = time.monotonic(), self.config.optimizer
        with OptimizeObserver(self.folder, f"{name} {self.config.task}", command.quiet) as observer:
            observer.begin("learning rates", options.points)
            validation = self.problems("val", options.validation_problems)
            rate, grid = choose_rate(name, options, validation, self.config.test.steps, observer.advance)
            results: dict[str, Any] = {"meta_parameters": 0, "training": {}, "grid": grid, "rate": rate, "test": {}}
            failure, chosen = None, time.monotonic()
            if rate is None:
                failure = "every learning rate of the grid diverged"
            else:
                runs = self.curves(hand_designed(name, rate), observer, "")
                results["test"] = {which: {"unroll": 0, "runs": runs} for which in ("best", "last")}
        measured = {"train_seconds": chosen - started, "test_seconds": time.monotonic() - chosen, "interruptions": 0}
        return self.write(results, failure, measured)


class Learned(Experiment):
    """Meta-train, then test the optimizer that validated best and the last one."""

    def execute(self, command: OptimizeCommand) -> dict[str, Any]:
        """Run and record; continues from a checkpoint."""
        config = self.config
        assert isinstance(config.training, UnrollOptions)
        regularizer = REGULARIZERS[config.regularizer](config.penalty)
        generator = torch.Generator().manual_seed(derive(self.seed, "init"))
        core = LEARNED[config.optimizer](generator, config.core)
        core = regularizer.attach(core)
        assert isinstance(core, CoordinatewiseOptimizer)
        size = config.training.batch_size
        trainer = UnrollTrainer(
            core.to(self.device),
            regularizer,
            config.training,
            self.seed,
            lambda seed: self.task.problem("train", seed, size),
            self.problems("val", config.training.validation_problems),
            {"configuration": config.sha256(), "dataset": self.task.dataset[1], "seed": str(self.seed)},
            self.folder / "checkpoint.pt",
            command.checkpoint_seconds,
        )
        results, failure, tested = {}, None, time.monotonic()
        title = f"{config.optimizer} {config.regularizer} seed {self.seed}"
        done = trainer.progress.unroll
        with OptimizeObserver(self.folder, title, command.quiet, done) as observer:
            observer.begin("unrolls", config.training.unrolls, done)
            try:
                trainer.run(observer)
                tested = time.monotonic()
                results = self._test(trainer, observer, self._card(trainer, command))
            except MetaTrainingFailed as error:
                failure = str(error)
        progress = trainer.progress
        kept = ("unroll", "skipped", "best_unroll", "best_loss", "curve", "imitation", "validation", "stages")
        found = {
            "meta_parameters": sum(p.numel() for p in core.parameters()),
            "training": {name: getattr(progress, name) for name in kept},
            "test": results,
            **smoothness(core),
        }
        measured = {
            "train_seconds": progress.seconds,
            "test_seconds": time.monotonic() - tested,
            "interruptions": progress.interruptions,
        }
        return self.write(found, failure, measured)

    def _card(self, trainer: UnrollTrainer, command: OptimizeCommand) -> OptimizerCard:
        config = self.config
        assert isinstance(config.training, UnrollOptions)
        return OptimizerCard(
            optimizer=config.optimizer,
            task=config.task,
            command=shlex.join(("python", "-m", "benchmarks.optimize", *command.words)),
            seed=self.seed,
            regularizer=config.regularizer,
            penalty=asdict(config.penalty) if config.regularizer != "none" else {},
            validation={"loss": trainer.progress.best_loss or 0.0, "steps": float(config.training.horizon)},
        )

    def _test(self, trainer: UnrollTrainer, observer: OptimizeObserver, card: OptimizerCard) -> dict[str, Any]:
        """Curves of both models, which are saved; ends with the best one loaded."""
        progress, core = trainer.progress, trainer.core
        if progress.best_loss is None:
            raise MetaTrainingFailed("every validation diverged")
        models = {"last": (progress.unroll, snapshot(core)), "best": (progress.best_unroll, trainer.best)}
        results: dict[str, Any] = {}
        for name, (unroll, weights) in models.items():
            core.load_state_dict(weights)
            final = trainer.progress.validation[-1]["loss"]
            reached = {**card.validation, "loss": final} if name == "last" else card.validation
            if reached["loss"] is not None:
                save_optimizer(self.folder / f"{name}.safetensors", core, replace(card, validation=reached))
            if name == "best" and unroll == progress.unroll:
                results[name] = results["last"]
            else:
                runs = self.curves(lambda w: LearnedStepper(core, w), observer, f"{name} optimizer")
                results[name] = {"unroll": unroll, "runs": runs}
        return results


class Transferred(Experiment):
    """Only test an optimizer, on whatever task."""

    core: CoordinatewiseOptimizer

    def execute(self, command: OptimizeCommand) -> dict[str, Any]:
        """Run and record."""
        core, tested = self.core.to(self.device), time.monotonic()
        with OptimizeObserver(self.folder, f"{self.config.optimizer} on {self.config.task}", command.quiet) as observer:
            runs = self.curves(lambda w: LearnedStepper(core, w), observer, "transfer")
        results = {
            "meta_parameters": sum(p.numel() for p in core.parameters()),
            "training": {},
            "test": {which: {"unroll": 0, "runs": runs} for which in ("best", "last")},
            **smoothness(core),
        }
        measured = {"train_seconds": 0.0, "test_seconds": time.monotonic() - tested, "interruptions": 0}
        return self.write(results, None, measured)


def smoothness(core: CoordinatewiseOptimizer) -> dict[str, Any]:
    """Fig. 7 for the record: updates at 1 000 states around zero, as drawn, and the largest slope there.

    Nothing for cores whose states have several columns, or whose updates are not finite.
    """
    if core.state_size != 1:
        return {}
    found = zero_state_response(core, torch.Generator().manual_seed(0))
    if not np.isfinite([*found.updates, found.lipschitz]).all():
        return {}
    state, update = found.states[:, 0].tolist(), found.updates.tolist()
    return {"smoothness": {"state": state, "update": update, "lipschitz": found.lipschitz}}


def experiment_of(command: OptimizeCommand, seed: int, task: Task, device: torch.device) -> Experiment:
    """What the command asks for.

    Raises:
        InputError: where the optimizer to be evaluated cannot be read.
    """
    config, core = command.resolved()
    folder = run_folder(command.results, config, seed)
    if core is not None:
        experiment = Transferred(config, seed, task, folder, device)
        experiment.core = core
        return experiment
    return (Learned if config.learned else HandDesigned)(config, seed, task, folder, device)


def run_seed(command: OptimizeCommand, seed: int, task: Task, device: torch.device) -> dict[str, Any]:
    """Run one seed of a command, or return the record of a finished one."""
    experiment = experiment_of(command, seed, task, device)
    folder = experiment.folder
    with only_one(folder, "running the same command"):
        path = folder / RECORD_NAME
        if path.exists() and not command.fresh:
            record = read_record(path)
            if record["dataset"]["fingerprint"] != task.dataset[1]:
                raise InputError(f"{path} was made with another version of {task.dataset[0]}; run again with --fresh")
            print(f"seed {seed} was finished before: {path} (--fresh runs it again)")
            return record
        if command.fresh:
            discard(folder)
        return experiment.execute(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and print the table of all that was tested on the same problems."""
    command = parse(arguments, Path(os.environ.get("FEWSHOT_DATA", "data")))
    device = choose_device(command.device)
    task = open_task(command.config.task, command.data, device)
    records = [run_seed(command, seed, task, device) for seed in command.seeds]
    for record in records:
        if record["failure"]:
            print(f"seed {record['seed']} failed: {record['failure']}")
    print(table(command.results, records[0]["protocol"]["sha256"]))
    if any(record["failure"] for record in records):
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
