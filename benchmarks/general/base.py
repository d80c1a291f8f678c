"""What all runs of the general track share: test problems, curves, the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.general.command import GeneralCommand
from benchmarks.general.config import GeneralConfig
from benchmarks.general.observe import GeneralObserver
from benchmarks.general.presets import PRESETS
from benchmarks.running.execute import check_computation, check_dataset, environment
from benchmarks.running.identity import config_sha256
from benchmarks.running.record import RECORD_NAME, Record
from benchmarks.running.schema import (
    DatasetFacts,
    Environment,
    GeneralDetails,
    GeneralFacts,
    GeneralResults,
    Measured,
    ProtocolFacts,
    TestRun,
    TrajectoryFacts,
)
from benchmarks.running.validation import Validation
from fewshot.errors import InputError
from fewshot.general.evaluate import Curve, points, train
from fewshot.general.hand_designed import HAND_DESIGNED
from fewshot.general.smoothness import trajectory_smoothness
from fewshot.general.stepping import LearnedStepper, StepperFactory
from fewshot.general.tasks import TASKS, Problem, Stage, Task
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.regularizers import REGULARIZERS
from fewshot.seeding import derive

COMPUTATION = 2
"""Version of the computation of test and validation losses; a change of rounding is a new one (CHANGELOG.md)."""

TRAJECTORIES, TRAJECTORY_STEPS = 3, 200
"""Test problems on which smoothness is measured, and steps of each at most."""


class GeneralExperiment:
    """One configuration with one seed: what learned and hand-designed optimizers share."""

    def __init__(
        self, command: GeneralCommand, config: GeneralConfig, seed: int, task: Task, device: torch.device
    ) -> None:
        self.command, self.config, self.seed, self.task, self.device = command, config, seed, task, device
        self.folder = folder_of(command.results, config, seed)
        self.dataset = DatasetFacts(name=task.dataset[0], fingerprint=task.dataset[1], pixels=task.pixels)

    def check(self, record: Record) -> None:
        """See `Experiment`; refuses a record of another version of the computation too."""
        check_dataset(record, self.dataset)
        check_computation(record, record.facts.protocol.computation, COMPUTATION)

    def execute(self) -> Record:
        """See `Experiment`."""
        raise NotImplementedError

    def validate(self, path: Path) -> Validation:
        """See `Experiment`; nothing but meta-training can be validated without a test.

        Raises:
            InputError: where nothing is meta-trained.
        """
        raise InputError(
            f"validate_only: {self.config.optimizer} is not meta-trained here, so there is nothing to choose by it;"
            " leave it out"
        )

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

    def environment(self) -> Environment:
        """What it is computed with."""
        config = self.config
        used = (
            (LEARNED if config.learned else HAND_DESIGNED, config.optimizer),
            (REGULARIZERS, config.regularizer),
            (TASKS, config.task),
            (PRESETS, self.command.preset),
        )
        return environment(self.device, used)

    def problems(self, stage: Stage, count: int) -> list[Problem]:
        """Fixed problems of a stage, the same for every optimizer and seed."""
        size = self.config.batch_size
        return [self.task.problem(stage, derive(self.config.test.seed, stage, i), size) for i in range(count)]

    def curves(self, start: StepperFactory, observer: GeneralObserver, what: str) -> list[TestRun]:
        """A curve per test problem."""
        test = self.config.test
        observer.begin(f"test, {what}", test.initializations * test.steps)
        problems = self.problems("test", test.initializations)
        return runs_of(train(problems, start, test.steps, points(test.steps, test.points), observer.advance))

    def stepper(self, core: CoordinatewiseOptimizer) -> StepperFactory:
        """A learned optimizer at work on networks of the task."""
        sizes = self.problems("test", 1)[0].sizes()
        return lambda weights: LearnedStepper(core, weights, sizes)

    def trajectory(self, core: CoordinatewiseOptimizer) -> TrajectoryFacts | None:
        """How smooth a learned optimizer is on its way through some of the test problems."""
        steps = min(self.config.test.steps, TRAJECTORY_STEPS)
        problems = self.problems("test", min(self.config.test.initializations, TRAJECTORIES))
        found = trajectory_smoothness(core, problems, steps)
        if found is None:
            return None
        return TrajectoryFacts(steps=steps, penalty=found.penalties, slope=found.slopes, lipschitz=found.lipschitz)

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
        facts = GeneralFacts(
            status="failed" if failure else "finished",
            failure=failure,
            config=config.to_dict(),
            config_sha256=config.sha256(),
            seed=self.seed,
            dataset=self.dataset,
            protocol=self.protocol(),
            environment=self.environment(),
            **own,
        )
        return Record.of(facts, results, details, took).write(self.folder / RECORD_NAME)


def runs_of(curves: Sequence[Curve]) -> list[TestRun]:
    """Curves of the test problems, for the record."""
    return [TestRun(initialization=number, **asdict(curve)) for number, curve in enumerate(curves)]


def folder_of(results: Path, config: GeneralConfig, seed: int) -> Path:
    """Where the run of a configuration and a seed is recorded."""
    return results / config.run_name() / f"seed{seed}"
