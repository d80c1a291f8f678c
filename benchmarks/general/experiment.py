"""One run of the general track, from its checked inputs to its record."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.general.base import COMPUTATION, GeneralExperiment
from benchmarks.general.command import GeneralCommand
from benchmarks.general.config import GeneralConfig
from benchmarks.general.hand_designed import HandDesigned
from benchmarks.general.observe import GeneralObserver
from benchmarks.general.transfer import read_optimizer
from benchmarks.running.command import command_text
from benchmarks.running.execute import CHECKPOINT_NAME, measured
from benchmarks.running.identity import config_sha256
from benchmarks.running.record import Record
from benchmarks.running.schema import (
    GeneralDetails,
    GeneralResults,
    GeneralTraining,
    TestedOptimizer,
    TrajectoryFacts,
    ZeroStateUpdates,
)
from benchmarks.running.validation import Validation, ValidationFacts, write_validation
from fewshot.engine.checkpoint import snapshot
from fewshot.engine.few_shot import MetaTrainingFailed
from fewshot.engine.general import UnrollOptions, UnrollTrainer
from fewshot.general.tasks import Task
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer, create
from fewshot.optimizers.analysis import zero_state_response
from fewshot.optimizers.optimizer_file import OptimizerCard, save_optimizer
from fewshot.regularizers import REGULARIZERS
from fewshot.seeding import derive

NEVER_FINITE = "every validation diverged"


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


class Learned(GeneralExperiment):
    """Meta-train, then test the optimizer that validated best and the last one."""

    def __init__(
        self, command: GeneralCommand, config: GeneralConfig, seed: int, task: Task, device: torch.device
    ) -> None:
        super().__init__(command, config, seed, task, device)
        self.regularizer = REGULARIZERS[config.regularizer](config.penalty)
        generator = torch.Generator().manual_seed(derive(seed, "init"))
        core = self.regularizer.attach(create(LEARNED[config.optimizer], generator, config.core)).to(device)
        assert isinstance(core, CoordinatewiseOptimizer)
        self.core = core

    def execute(self) -> Record:
        """Run and record; continues from a checkpoint."""
        options, core = self.config.training, self.core
        assert isinstance(options, UnrollOptions)
        trainer = self._trainer(options)
        results, trajectory, failure, test_seconds = None, None, None, 0.0
        with self._observer(trainer) as observer:
            try:
                trainer.run(observer)
                started = time.monotonic()
                results = self._test(trainer, observer)
                trajectory = self.trajectory(core)
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
        own = _of_core(core, around_zero, trajectory)
        return self.write(results, details, took, failure, training=training, **own)

    def validate(self, path: Path) -> Validation:
        """See `Experiment`."""
        options = self.config.training
        assert isinstance(options, UnrollOptions)
        failure, trainer = None, self._trainer(options)
        values = [math.nan] * options.validation_problems
        with self._observer(trainer) as observer:
            try:
                trainer.run(observer, self.command.stop_at)
                if trainer.progress.best_loss is None:
                    raise MetaTrainingFailed(NEVER_FINITE)
                self.core.load_state_dict(trainer.best)
                values = trainer.losses()
            except MetaTrainingFailed as error:
                failure = str(error)
        progress, config = trainer.progress, self.config
        decides = [self.protocol().sha256, options.validation_problems, trainer.validated_at]
        facts = ValidationFacts(
            config=config.to_dict(),
            config_sha256=config.sha256(),
            seed=self.seed,
            dataset=self.dataset,
            environment=self.environment(),
            problems=config_sha256({"decides": decides}),
            higher_is_better=False,
            done=progress.unroll,
            total=options.unrolls,
            failure=failure,
        )
        return write_validation(path, facts, values, measured(progress.seconds, 0.0, progress.interruptions))

    def _trainer(self, options: UnrollOptions) -> UnrollTrainer:
        return UnrollTrainer(
            self.core,
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

    @contextmanager
    def _observer(self, trainer: UnrollTrainer) -> Iterator[GeneralObserver]:
        """Watches from where a trainer stands."""
        title, done = f"{self.config.optimizer} {self.config.regularizer} seed {self.seed}", trainer.progress.unroll
        with GeneralObserver(self.folder, title, self.command.quiet, done) as observer:
            observer.begin("unrolls", trainer.options.unrolls, done)
            yield observer

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
            raise MetaTrainingFailed(NEVER_FINITE)
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
                runs = self.curves(self.stepper(core), observer, f"{name} optimizer")
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
            runs = self.curves(self.stepper(core), observer, "transfer")
        tested, around_zero = TestedOptimizer(unroll=0, runs=runs), smoothness(core)
        trajectory = self.trajectory(core)
        return self.write(
            GeneralResults(best=tested, last=tested),
            GeneralDetails(smoothness=around_zero),
            measured(0.0, time.monotonic() - started),
            training=None,
            **_of_core(core, around_zero, trajectory),
        )


def _of_core(
    core: CoordinatewiseOptimizer, around_zero: ZeroStateUpdates | None, trajectory: TrajectoryFacts | None
) -> dict[str, Any]:
    """Members of `GeneralFacts` that say what a learned optimizer is."""
    lipschitz = None if around_zero is None else around_zero.lipschitz
    parameters = sum(p.numel() for p in core.parameters())
    return {"meta_parameters": parameters, "lipschitz": lipschitz, "trajectory": trajectory}


def smoothness(core: CoordinatewiseOptimizer) -> ZeroStateUpdates | None:
    """Fig. 7 for the record: updates at 1 000 states around zero, as drawn, and the largest slope there.

    None for cores whose states have several columns or whose updates depend on those of other weights, of which there
    are none here, or are not finite.
    """
    if core.state_size != 1 or not core.independent_rows:
        return None
    response = zero_state_response(core, torch.Generator().manual_seed(0))
    if not np.isfinite([*response.updates, response.lipschitz]).all():
        return None
    state, update = response.states[:, 0].tolist(), response.updates.tolist()
    return ZeroStateUpdates(state=state, update=update, lipschitz=response.lipschitz)
