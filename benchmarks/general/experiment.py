"""One run of the general track, from its checked inputs to its record."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
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
    RateCurves,
    TestedOptimizer,
    TestRun,
    ZeroStateUpdates,
)
from fewshot.console import note
from fewshot.engine.checkpoint import snapshot
from fewshot.engine.few_shot import MetaTrainingFailed
from fewshot.engine.general import UnrollOptions, UnrollTrainer
from fewshot.errors import InputError
from fewshot.general.evaluate import Curve, points, train
from fewshot.general.hand_designed import (
    HAND_DESIGNED,
    Choice,
    GridOptions,
    choose_rate,
    hand_designed,
    train_grid,
)
from fewshot.general.stepping import LearnedStepper, StepperFactory
from fewshot.general.tasks import TASKS, Problem, Stage, Task
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.optimizers.analysis import zero_state_response
from fewshot.optimizers.optimizer_file import OptimizerCard, save_optimizer
from fewshot.regularizers import REGULARIZERS
from fewshot.seeding import derive

COMPUTATION = 2
"""Version of the computation of test and validation losses; a change of rounding is a new one (CHANGELOG.md)."""
REFERENCE = "adam"
"""The optimizer whose envelope over all rates others are compared with."""


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
        self.dataset = DatasetFacts(name=task.dataset[0], fingerprint=task.dataset[1])

    def check(self, record: Record) -> None:
        """See `Experiment`; refuses a record of another version of the computation too."""
        check_dataset(record, self.dataset)
        theirs = record.facts.protocol.computation
        if theirs != COMPUTATION:
            raise InputError(
                f"{record.path} has version {theirs} of the computation, this program {COMPUTATION} (CHANGELOG.md);"
                " run again with --fresh, or give another --results"
            )

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
        sha256 = config_sha256(named | facts | {"computation": COMPUTATION})
        return ProtocolFacts(**named, task_facts=facts, sha256=sha256, computation=COMPUTATION)

    def problems(self, stage: Stage, count: int) -> list[Problem]:
        """Fixed problems of a stage, the same for every optimizer and seed."""
        size = self.config.batch_size
        return [self.task.problem(stage, derive(self.config.test.seed, stage, i), size) for i in range(count)]

    def curves(self, start: StepperFactory, observer: GeneralObserver, what: str) -> list[TestRun]:
        """A curve per test problem."""
        test = self.config.test
        observer.begin(f"test, {what}", test.initializations * test.steps)
        problems = self.problems("test", test.initializations)
        return _runs(train(problems, start, test.steps, points(test.steps, test.points), observer.advance))

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
        test, envelope = self.config.test, None
        with GeneralObserver(self.folder, f"{name} {self.config.task}", self.command.quiet) as observer:
            validation = self.problems("val", options.validation_problems)
            observer.begin("learning rates", options.points * len(validation) * test.steps)
            choice = choose_rate(name, options, validation, test.steps, observer.advance)
            chosen, rate = time.monotonic(), choice.rate
            if rate is None:
                failure = "every learning rate of the grid diverged"
            else:
                if choice.border:
                    note(
                        f"{name}: the chosen learning rate {rate:g} is the {choice.border} of its grid; a better one"
                        f" may lie beyond it: set --training.{'low' if choice.border == 'lowest' else 'high'}"
                    )
                if name == REFERENCE and options.envelope:
                    runs, envelope = self._every_rate(choice, observer)
                else:
                    runs = self.curves(hand_designed(name, rate, test.steps), observer, "")
                tested = TestedOptimizer(unroll=0, runs=runs)
                results = GeneralResults(best=tested, last=tested)
        grid = [GridPoint(**point) for point in choice.grid]
        details = GeneralDetails(grid=grid, border=choice.border, envelope=envelope)
        took = measured(chosen - started, time.monotonic() - chosen)
        return self.write(results, details, took, failure, meta_parameters=0, training=None, rate=rate)

    def _every_rate(self, choice: Choice, observer: GeneralObserver) -> tuple[list[TestRun], RateCurves]:
        """Curves per test problem of the chosen rate, and the losses of all."""
        test, rates = self.config.test, [point["rate"] for point in choice.grid]
        at = points(test.steps, test.points)
        observer.begin("test, every rate", len(rates) * test.initializations * test.steps)
        problems = self.problems("test", test.initializations)
        found = train_grid(self.config.optimizer, rates, problems, test.steps, at, observer.advance)
        losses = [[curve.test_loss + [None] * (len(at) - len(curve.test_loss)) for curve in each] for each in found]
        return _runs(found[rates.index(choice.rate)]), RateCurves(rates=rates, step=at, test_loss=losses)


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
            {
                "configuration": self.config.sha256(),
                "dataset": self.dataset.fingerprint,
                "seed": str(self.seed),
                "version of the computation": str(COMPUTATION),
            },
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
        progress, around_zero = trainer.progress, smoothness(core)
        details = GeneralDetails(
            curve=progress.curve,
            imitation=progress.imitation,
            validation=progress.validation,
            stages=progress.stages,
            smoothness=around_zero,
        )
        guess = None if options.variation.convex else self.task.guessing()  # its loss comes on top
        training = GeneralTraining(
            unroll=progress.unroll,
            skipped=progress.skipped,
            best_unroll=progress.best_unroll,
            best_loss=progress.best_loss,
            last_loss=progress.validation[-1]["loss"] if progress.validation else None,
            exploded=None if guess is None else progress.exploded(guess),
            clipped=progress.clipped,
        )
        took = measured(progress.seconds, test_seconds, progress.interruptions)
        return self.write(results, details, took, failure, training=training, **_of_core(core, around_zero))

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
        tested, around_zero = TestedOptimizer(unroll=0, runs=runs), smoothness(core)
        return self.write(
            GeneralResults(best=tested, last=tested),
            GeneralDetails(smoothness=around_zero),
            measured(0.0, time.monotonic() - started),
            training=None,
            **_of_core(core, around_zero),
        )


def _runs(curves: Sequence[Curve]) -> list[TestRun]:
    return [TestRun(initialization=number, **asdict(curve)) for number, curve in enumerate(curves)]


def _of_core(core: CoordinatewiseOptimizer, around_zero: ZeroStateUpdates | None) -> dict[str, Any]:
    """Members of `GeneralFacts` that say what a learned optimizer is."""
    lipschitz = None if around_zero is None else around_zero.lipschitz
    return {"meta_parameters": sum(p.numel() for p in core.parameters()), "lipschitz": lipschitz}


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
