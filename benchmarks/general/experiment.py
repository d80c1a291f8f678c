"""One run of the general track, from its checked inputs to its record."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.general.command import GeneralCommand
from benchmarks.general.config import GeneralConfig
from benchmarks.general.observe import GeneralObserver
from benchmarks.general.presets import PRESETS
from benchmarks.general.transfer import read_optimizer
from benchmarks.running.command import command_text
from benchmarks.running.execute import CHECKPOINT_NAME, check_dataset, environment, measured
from benchmarks.running.identity import config_sha256
from benchmarks.running.record import RECORD_NAME, Record
from benchmarks.running.schema import (
    DatasetFacts,
    GeneralDetails,
    GeneralFacts,
    GeneralResults,
    GeneralTraining,
    GridPoint,
    Measured,
    ProtocolFacts,
    TestedOptimizer,
    TestRun,
    ZeroStateUpdates,
)
from fewshot.engine.checkpoint import snapshot
from fewshot.engine.few_shot import MetaTrainingFailed
from fewshot.engine.general import UnrollOptions, UnrollTrainer
from fewshot.general.evaluate import points, train
from fewshot.general.hand_designed import HAND_DESIGNED, GridOptions, choose_rate, hand_designed
from fewshot.general.stepping import LearnedStepper, StepperFactory
from fewshot.general.tasks import TASKS, Problem, Stage, Task
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.optimizers.analysis import zero_state_response
from fewshot.optimizers.optimizer_file import OptimizerCard, save_optimizer
from fewshot.regularizers import REGULARIZERS
from fewshot.seeding import derive


def experiment_of(command: GeneralCommand, seed: int, task: Task, device: torch.device) -> GeneralExperiment:
    """What a command asks for.

    Raises:
        InputError: where the optimizer to be evaluated cannot be read, or an option does not fit the optimizer.
    """
    if command.evaluate is not None:
        config, core = read_optimizer(command.evaluate, command.config)
        return Transferred(command, config, seed, task, device, core)
    kind = Learned if command.learned else HandDesigned
    return kind(command, command.config, seed, task, device)


class GeneralExperiment:
    """One configuration with one seed: what learned and hand-designed optimizers share."""

    def __init__(
        self, command: GeneralCommand, config: GeneralConfig, seed: int, task: Task, device: torch.device
    ) -> None:
        self.command, self.config, self.seed, self.task, self.device = command, config, seed, task, device
        self.folder = folder_of(command.results, config, seed)
        self.dataset = DatasetFacts(name=task.dataset[0], fingerprint=task.dataset[1], pixels=task.pixels)

    def check(self, record: Record) -> None:
        """See `Experiment`."""
        check_dataset(record, self.dataset)

    def execute(self) -> Record:
        """See `Experiment`."""
        raise NotImplementedError

    def protocol(self) -> ProtocolFacts:
        """What decides the test problems and their batches, with its hash."""
        test = self.config.test
        named = {
            "task": self.config.task,
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "steps": test.steps,
            "initializations": test.initializations,
            "seed": test.seed,
            "points": test.points,
            "batch_size": self.config.batch_size,
        }
        facts = self.task.facts()
        return ProtocolFacts(**named, task_facts=facts, sha256=config_sha256(named | facts))

    def problems(self, stage: Stage, count: int) -> list[Problem]:
        """Fixed problems of a stage, the same for every optimizer and seed."""
        size = self.config.batch_size
        return [self.task.problem(stage, derive(self.config.test.seed, stage, i), size) for i in range(count)]

    def curves(self, start: StepperFactory, observer: GeneralObserver, what: str) -> list[TestRun]:
        """A curve per test problem."""
        test = self.config.test
        observer.begin(f"test, {what}", test.initializations)
        runs = []
        for number, problem in enumerate(self.problems("test", test.initializations)):
            curve = train(problem, start, test.steps, points(test.steps, test.points))
            runs.append(TestRun(initialization=number, **asdict(curve)))
            observer.advance()
        return runs

    def write(
        self,
        results: GeneralResults | None,
        details: GeneralDetails,
        took: Measured,
        failure: str | None = None,
        **own: Any,
    ) -> Record:
        """Complete the record and write it; `own` are members of `GeneralFacts` that kinds of runs differ in."""
        config = self.config
        used = (
            (LEARNED if config.learned else HAND_DESIGNED, config.optimizer),
            (REGULARIZERS, config.regularizer),
            (TASKS, config.task),
            (PRESETS, self.command.preset),
        )
        facts = GeneralFacts(
            status="failed" if failure else "finished",
            failure=failure,
            config=config.to_dict(),
            config_sha256=config.sha256(),
            seed=self.seed,
            dataset=self.dataset,
            protocol=self.protocol(),
            environment=environment(self.device, used),
            **own,
        )
        return Record.of(facts, results, details, took).write(self.folder / RECORD_NAME)


class HandDesigned(GeneralExperiment):
    """Choose the learning rate on validation problems, then test."""

    def execute(self) -> Record:
        """Run and record."""
        options = self.config.training
        assert isinstance(options, GridOptions)
        started, name, results, failure = time.monotonic(), self.config.optimizer, None, None
        with GeneralObserver(self.folder, f"{name} {self.config.task}", self.command.quiet) as observer:
            observer.begin("learning rates", options.points)
            validation = self.problems("val", options.validation_problems)
            rate, grid = choose_rate(name, options, validation, self.config.test.steps, observer.advance)
            chosen = time.monotonic()
            if rate is None:
                failure = "every learning rate of the grid diverged"
            else:
                tested = TestedOptimizer(unroll=0, runs=self.curves(hand_designed(name, rate), observer, ""))
                results = GeneralResults(best=tested, last=tested)
        details = GeneralDetails(grid=[GridPoint(**point) for point in grid])
        took = measured(chosen - started, time.monotonic() - chosen)
        return self.write(results, details, took, failure, meta_parameters=0, training=None, rate=rate)


class Learned(GeneralExperiment):
    """Meta-train, then test the optimizer that validated best and the last one."""

    def __init__(
        self, command: GeneralCommand, config: GeneralConfig, seed: int, task: Task, device: torch.device
    ) -> None:
        super().__init__(command, config, seed, task, device)
        self.regularizer = REGULARIZERS[config.regularizer](config.penalty)
        core = LEARNED[config.optimizer](torch.Generator().manual_seed(derive(seed, "init")), config.core)
        core = self.regularizer.attach(core).to(device)
        assert isinstance(core, CoordinatewiseOptimizer)
        self.core = core

    def execute(self) -> Record:
        """Run and record; continues from a checkpoint."""
        options, core = self.config.training, self.core
        assert isinstance(options, UnrollOptions)
        trainer = UnrollTrainer(
            core,
            self.regularizer,
            options,
            self.seed,
            lambda seed: self.task.problem("train", seed, options.batch_size),
            self.problems("val", options.validation_problems),
            {"configuration": self.config.sha256(), "dataset": self.dataset.fingerprint, "seed": str(self.seed)},
            self.folder / CHECKPOINT_NAME,
            self.command.checkpoint_seconds,
        )
        results, failure, test_seconds = None, None, 0.0
        title, done = f"{self.config.optimizer} {self.config.regularizer} seed {self.seed}", trainer.progress.unroll
        with GeneralObserver(self.folder, title, self.command.quiet, done) as observer:
            observer.begin("unrolls", options.unrolls, done)
            try:
                trainer.run(observer)
                started = time.monotonic()
                results = self._test(trainer, observer)
                test_seconds = time.monotonic() - started
            except MetaTrainingFailed as error:
                failure = str(error)
        progress = trainer.progress
        details = GeneralDetails(
            curve=progress.curve,
            imitation=progress.imitation,
            validation=progress.validation,
            stages=progress.stages,
            smoothness=smoothness(core),
        )
        training = GeneralTraining(
            unroll=progress.unroll,
            skipped=progress.skipped,
            best_unroll=progress.best_unroll,
            best_loss=progress.best_loss,
        )
        took = measured(progress.seconds, test_seconds, progress.interruptions)
        parameters = sum(p.numel() for p in core.parameters())
        return self.write(results, details, took, failure, meta_parameters=parameters, training=training)

    def _card(self, loss: float) -> OptimizerCard:
        config = self.config
        assert isinstance(config.training, UnrollOptions)
        return OptimizerCard(
            optimizer=config.optimizer,
            task=config.task,
            command=command_text("benchmarks.optimize", self.command.words, sys.argv[0]),
            seed=self.seed,
            regularizer=config.regularizer,
            penalty=asdict(config.penalty) if config.regularizer != "none" else {},
            validation={"loss": loss, "steps": float(config.training.horizon)},
        )

    def _test(self, trainer: UnrollTrainer, observer: GeneralObserver) -> GeneralResults:
        """Curves of both models, which are saved; ends with the best one loaded."""
        progress, core = trainer.progress, trainer.core
        if progress.best_loss is None:
            raise MetaTrainingFailed("every validation diverged")
        models = {"last": (progress.unroll, snapshot(core)), "best": (progress.best_unroll, trainer.best)}
        reached = {"last": progress.validation[-1]["loss"], "best": progress.best_loss}
        tested: dict[str, TestedOptimizer] = {}
        for name, (unroll, weights) in models.items():
            core.load_state_dict(weights)
            loss = reached[name]
            if loss is not None:
                save_optimizer(self.folder / f"{name}.safetensors", core, self._card(loss))
            if name == "best" and unroll == progress.unroll:
                tested[name] = tested["last"]
            else:
                runs = self.curves(lambda w: LearnedStepper(core, w), observer, f"{name} optimizer")
                tested[name] = TestedOptimizer(unroll=unroll, runs=runs)
        return GeneralResults(**tested)


class Transferred(GeneralExperiment):
    """Only test an optimizer, on whatever task."""

    def __init__(
        self,
        command: GeneralCommand,
        config: GeneralConfig,
        seed: int,
        task: Task,
        device: torch.device,
        core: CoordinatewiseOptimizer,
    ) -> None:
        super().__init__(command, config, seed, task, device)
        self.core = core.to(device)

    def execute(self) -> Record:
        """Run and record."""
        core, started = self.core, time.monotonic()
        title = f"{self.config.optimizer} on {self.config.task}"
        with GeneralObserver(self.folder, title, self.command.quiet) as observer:
            runs = self.curves(lambda w: LearnedStepper(core, w), observer, "transfer")
        tested = TestedOptimizer(unroll=0, runs=runs)
        return self.write(
            GeneralResults(best=tested, last=tested),
            GeneralDetails(smoothness=smoothness(core)),
            measured(0.0, time.monotonic() - started),
            meta_parameters=sum(p.numel() for p in core.parameters()),
            training=None,
        )


def folder_of(results: Path, config: GeneralConfig, seed: int) -> Path:
    """Where the run of a configuration and a seed is recorded."""
    return results / config.run_name() / f"seed{seed}"


def smoothness(core: CoordinatewiseOptimizer) -> ZeroStateUpdates | None:
    """Fig. 7 for the record: updates at 1 000 states around zero, as drawn, and the largest slope there.

    None for cores whose states have several columns, or whose updates are not finite.
    """
    if core.state_size != 1:
        return None
    response = zero_state_response(core, torch.Generator().manual_seed(0))
    if not np.isfinite([*response.updates, response.lipschitz]).all():
        return None
    state, update = response.states[:, 0].tolist(), response.updates.tolist()
    return ZeroStateUpdates(state=state, update=update, lipschitz=response.lipschitz)
