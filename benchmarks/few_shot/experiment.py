"""One few-shot run, from its checked inputs to its record."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.backbones.experiment import ensure
from benchmarks.few_shot.base import FewShotBase
from benchmarks.few_shot.command import FewShotCommand
from benchmarks.few_shot.config import FewShotConfig
from benchmarks.few_shot.observe import FewShotObserver
from benchmarks.running.command import command_text
from benchmarks.running.execute import CHECKPOINT_NAME, measured
from benchmarks.running.record import Record
from benchmarks.running.schema import (
    FewShotDetails,
    FewShotResults,
    FewShotTraining,
    TestedEpisodes,
)
from benchmarks.running.validation import Validation, ValidationFacts, write_validation
from fewshot.backbones.features import AugmentedSampler, open_features
from fewshot.backbones.file import BackboneInfo, read_info
from fewshot.data.augment import Augment
from fewshot.data.catalog import CATALOG
from fewshot.data.episodes import Episode, EpisodeSampler
from fewshot.data.preprocess import Preprocess
from fewshot.data.store import Dataset
from fewshot.engine.checkpoint import snapshot
from fewshot.engine.few_shot import MetaProgress, MetaTrainer, MetaTrainingFailed
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.learners.features import FeatureOptions
from fewshot.learners.file import LearnerCard, save_learner
from fewshot.regularizers import REGULARIZERS
from fewshot.seeding import derive

NEVER_FINITE = "no validation gave finite logits"


class FewShotExperiment(FewShotBase):
    """Meta-train, then test the learner that validated best and the last one."""

    def __init__(
        self,
        command: FewShotCommand,
        seed: int,
        dataset: Dataset,
        device: torch.device,
        backbone: BackboneInfo | None = None,
    ) -> None:
        """Build everything that can be refused, before any work.

        Args:
            command: what to run, and how.
            seed: of everything random in it.
            dataset: of images, or of the features of `backbone`.
            device: where it runs.
            backbone: what features come from; None for methods on images.

        Raises:
            InputError: where the episodes asked for do not exist, or an option does not fit the learner.
        """
        super().__init__(command, command.config, seed, dataset, device, backbone)
        config = self.config
        views = isinstance(config.learner, FeatureOptions) and config.learner.views > 0
        sampler: Any = AugmentedSampler if views else EpisodeSampler
        sizes = {"way": config.way, "shot": config.shot, "query": config.query}
        self.training = sampler(dataset["train"], **sizes, seed=derive(seed, "episodes"))
        self.validation = self.manifest("val", config.training.validation_episodes)
        self.test = self.manifest("test", config.test.episodes)
        self.preprocess = Preprocess(device, *_normalization(config))
        self.augment = Augment() if config.training.augment else None
        self.regularizer = REGULARIZERS[config.regularizer](config.penalty)
        self.learner = self._build()

    def _shape(self) -> tuple[int, int]:
        """Channels and image size of what is learned from."""
        method, shape = METHODS[self.config.method], self.dataset["train"].shape
        channels, (height, width) = shape[-1], shape[1:3] if method.learns_from == "images" else (1, 1)
        if height != width:
            raise InputError(f"images of {self.dataset.name} are {height}×{width}; learners need square ones")
        return channels, height

    def _build(self) -> nn.Module:
        method, (channels, height) = METHODS[self.config.method], self._shape()
        generator = torch.Generator().manual_seed(derive(self.seed, "init"))
        learner = method.build(channels, height, self.config.way, self.config.learner, self.regularizer, generator)
        self.use_precision(learner)
        return learner.to(self.device)

    def execute(self) -> Record:
        """Meta-train, test, record; continues from a checkpoint."""
        command = self.command
        if command.manifest is not None:
            self.test.export(command.manifest, self.dataset)
        trainer = self._trainer()
        results, failure, test_seconds = None, None, 0.0
        with self._observer(trainer) as observer:
            try:
                trainer.run(observer)
                tested = time.monotonic()
                results = self._test(trainer, observer)
                test_seconds = time.monotonic() - tested
            except (MetaTrainingFailed, FloatingPointError) as error:
                failure = str(error)
        return self._write(trainer.progress, results, failure, test_seconds)

    def validate(self, path: Path) -> Validation:
        """See `Experiment`."""
        failure, trainer = None, self._trainer()
        values = np.full(self.validation.count, np.nan)
        with self._observer(trainer) as observer:
            try:
                trainer.run(observer, self.command.stop_at)
                if trainer.progress.best_score is None:
                    raise MetaTrainingFailed(NEVER_FINITE)
                self.learner.load_state_dict(trainer.best)
                values = self.correct(self.learner, self.validation, self.preprocess) / (
                    self.config.way * self.config.query
                )
            except (MetaTrainingFailed, FloatingPointError) as error:
                failure = str(error)
        progress, config = trainer.progress, self.config
        facts = ValidationFacts(
            config=config.to_dict(),
            config_sha256=config.sha256(),
            seed=self.seed,
            dataset=self.dataset_facts(),
            environment=self.environment(),
            problems=self.validation.sha256(self.dataset),
            higher_is_better=True,
            done=progress.episode,
            total=config.training.episodes,
            failure=failure,
        )
        return write_validation(path, facts, values.tolist(), measured(progress.seconds, 0.0, progress.interruptions))

    def _trainer(self) -> MetaTrainer:
        return MetaTrainer(
            self.learner,
            self.regularizer,
            self.config.training,
            self.seed,
            self._training_episode,
            lambda learner: (
                self.correct(learner, self.validation, self.preprocess) / (self.config.way * self.config.query)
            ),
            self._identity(),
            self.folder / CHECKPOINT_NAME,
            self.command.checkpoint_seconds,
        )

    @contextmanager
    def _observer(self, trainer: MetaTrainer) -> Iterator[FewShotObserver]:
        """Watches from where a trainer stands."""
        title, done = f"{self.config.method} {self.config.regularizer} seed {self.seed}", trainer.progress.episode
        with FewShotObserver(self.folder, title, self.command.quiet, done) as observer:
            observer.begin("meta-training", self.config.training.episodes, done)
            yield observer

    def _identity(self) -> dict[str, str]:
        identity = {
            "number of classes (way)": str(self.config.way),  # first to be named: weights are tied to it
            "configuration": self.config.sha256(),
            "dataset": self.dataset.fingerprint,
            "seed": str(self.seed),
        }
        if (version := METHODS[self.config.method].computation) > 1:
            identity["version of the computation"] = str(version)
        return identity if self.backbone is None else {**identity, "backbone": self.backbone.sha256}

    def _training_episode(self, index: int) -> Episode:
        return self.preprocess(self.training[index], self.augment, derive(self.seed, "augment", index))

    def _test(self, trainer: MetaTrainer, observer: FewShotObserver) -> FewShotResults:
        """Correct queries per test episode, of the model that validated best and of the last one; both are saved."""
        progress = trainer.progress
        if not progress.best_episode:
            raise MetaTrainingFailed(NEVER_FINITE)
        models = {"best": (progress.best_episode, trainer.best), "last": (progress.episode, snapshot(self.learner))}
        validated = {"best": progress.best_accuracy, "last": progress.validation[-1]["accuracy"]}
        tested: dict[str, TestedEpisodes] = {}
        for name, (episode, weights) in models.items():
            save_learner(self.folder / f"{name}.safetensors", weights, self._card(validated[name]))
            if name == "last" and episode == progress.best_episode:
                tested[name] = tested["best"]
                continue
            observer.begin(f"test, {name} model", self.test.count)
            self.learner.load_state_dict(weights)
            correct = self.correct(self.learner, self.test, self.preprocess, observer.advance)
            tested[name] = TestedEpisodes(episode=episode, correct=correct.tolist())
        return FewShotResults(**tested)

    def _write(
        self, progress: MetaProgress, results: FewShotResults | None, failure: str | None, test_seconds: float
    ) -> Record:
        training = FewShotTraining(
            episode=progress.episode,
            skipped=progress.skipped,
            best_episode=progress.best_episode,
            best_accuracy=progress.best_accuracy,
        )
        details = FewShotDetails(curve=progress.curve, validation=progress.validation)
        took = measured(progress.seconds, test_seconds, progress.interruptions)
        manifests = (self.validation, self.test)
        return self.write(self.learner, results, details, took, manifests, failure, training=training)

    def _card(self, accuracy: float) -> LearnerCard:
        config, (channels, size) = self.config, self._shape()
        mean, std = self.preprocess.mean, self.preprocess.std
        return LearnerCard(
            method=config.method,
            dataset=self.dataset.name,
            fingerprint=self.dataset.fingerprint,
            way=config.way,
            shot=config.shot,
            query=config.query,
            channels=channels,
            image_size=size,
            seed=self.seed,
            command=command_text("benchmarks.run", self.command.words, sys.argv[0]),
            mean=mean,
            std=std,
            regularizer=config.regularizer,
            penalty=asdict(config.penalty) if config.regularizer != "none" else {},
            backbone="" if self.backbone is None else self.backbone.backbone,
            backbone_sha256="" if self.backbone is None else self.backbone.sha256,
            validation={"accuracy": accuracy, "episodes": float(config.training.validation_episodes)},
            config_sha256=config.sha256(),
            options=asdict(config.learner),
        )


def with_features(
    command: FewShotCommand, dataset: Dataset, device: torch.device
) -> tuple[Dataset, BackboneInfo | None]:
    """What the method learns from: the dataset as it is, or with features of a backbone for images.

    The backbone is pre-trained and the features are computed where they are missing.

    Raises:
        InputError: where the backbone must be pre-trained by hand, or does not fit the dataset.
    """
    learner = command.learner
    if not isinstance(learner, FeatureOptions):
        return dataset, None
    for split in ("train", "val", "test"):  # what does not fit is refused before, not after, the long work
        EpisodeSampler(dataset[split], command.way, command.shot, command.query)
    regularizer = REGULARIZERS[command.regularizer](command.penalty)
    METHODS[command.method].build(8, 1, command.way, learner, regularizer, torch.Generator())
    path = ensure(dataset, learner.backbone, results=command.backbones, device=device, quiet=command.quiet)
    splits = open_features(dataset, path, command.features, learner.views, command.force, command.quiet, device)
    return replace(dataset, splits=splits), read_info(path)


def _normalization(config: FewShotConfig) -> tuple[Any, Any]:
    if not config.normalize:
        return None, None
    entry = CATALOG.get(config.dataset)
    if entry is None or entry.mean is None:
        raise InputError(
            f"normalize: no published mean and deviation for {config.dataset!r}; "
            "leave --normalize out or use --no-normalize"
        )
    return entry.mean, entry.std
