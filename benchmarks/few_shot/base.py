"""What runs of the few-shot track share: test episodes, answers, the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.few_shot.command import FewShotCommand
from benchmarks.few_shot.config import FewShotConfig
from benchmarks.few_shot.presets import PRESETS
from benchmarks.running.execute import check_computation, check_dataset, environment
from benchmarks.running.record import RECORD_NAME, Record
from benchmarks.running.schema import (
    BackboneFacts,
    DatasetFacts,
    Environment,
    FewShotDetails,
    FewShotFacts,
    FewShotResults,
    ManifestFacts,
    Measured,
)
from benchmarks.running.validation import Validation
from fewshot.backbones.file import BackboneInfo
from fewshot.data.catalog import CATALOG, pixels_of
from fewshot.data.episodes import Episode
from fewshot.data.manifest import Manifest
from fewshot.data.store import Dataset
from fewshot.engine.evaluate import count_correct
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.regularizers import REGULARIZERS


class FewShotBase:
    """One configuration with one seed."""

    def __init__(
        self,
        command: FewShotCommand,
        config: FewShotConfig,
        seed: int,
        dataset: Dataset,
        device: torch.device,
        backbone: BackboneInfo | None,
    ) -> None:
        self.command, self.config, self.seed, self.device = command, config, seed, device
        self.dataset, self.backbone = dataset, backbone
        self.folder = folder_of(command.results, config, seed)

    def manifest(self, split: str, count: int) -> Manifest:
        """Fixed episodes of a split, the same for every method and seed."""
        c = self.config
        manifest = Manifest(
            self.dataset.name, self.dataset.fingerprint, split, c.way, c.shot, c.query, c.test.seed, count
        )
        manifest.sampler(self.dataset)
        return manifest

    def correct(
        self,
        learner: nn.Module,
        manifest: Manifest,
        ready: Callable[[Episode], Episode],
        advance: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Correct queries of every episode, int64 [episodes]; `ready` makes an episode what the learner takes."""
        sampler = manifest.sampler(self.dataset)
        return count_correct(learner, (ready(sampler[i]) for i in range(manifest.count)), advance)

    def use_precision(self, learner: Any) -> None:
        """Let a learner compute its network in what the configuration says.

        Raises:
            InputError: where it knows float32 only.
        """
        if self.config.precision == "fp32":
            return
        if not hasattr(learner, "precision"):
            raise InputError(
                f"precision is {self.config.precision}, but method {self.config.method} knows float32 only;"
                " use --precision fp32"
            )
        learner.precision = self.config.precision

    def dataset_facts(self) -> DatasetFacts:
        """What identifies the dataset."""
        dataset = self.dataset
        return DatasetFacts(name=dataset.name, fingerprint=dataset.fingerprint, pixels=pixels_of(dataset))

    def environment(self) -> Environment:
        """Where this runs, with the plug-ins that it uses."""
        config, preset = self.config, f"{self.config.method}.{self.command.preset}"
        used = (
            (METHODS, config.method),
            (REGULARIZERS, config.regularizer),
            (CATALOG, config.dataset),
            (PRESETS, preset),
        )
        return environment(self.device, used)

    def execute(self) -> Record:
        """See `Experiment`."""
        raise NotImplementedError

    def validate(self, path: Path) -> Validation:
        """See `Experiment`."""
        raise NotImplementedError

    def check(self, record: Record) -> None:
        """See `Experiment`."""
        check_dataset(record, DatasetFacts(name=self.dataset.name, fingerprint=self.dataset.fingerprint))
        check_computation(record, record.facts.computation, METHODS[self.config.method].computation)
        if self.backbone is not None and record.facts.backbone.sha256 != self.backbone.sha256:
            name = self.backbone.backbone
            raise InputError(f"{record.path} was made with other weights of {name}; run again with --fresh")

    def write(
        self,
        learner: nn.Module,
        results: FewShotResults | None,
        details: FewShotDetails,
        took: Measured,
        manifests: tuple[Manifest, ...],
        failure: str | None = None,
        **own: Any,
    ) -> Record:
        """Complete the record and write it; `own` are members of `FewShotFacts` that kinds of runs differ in."""
        config, dataset, backbone = self.config, self.dataset, self.backbone
        facts = FewShotFacts(
            status="failed" if failure else "finished",
            failure=failure,
            config=config.to_dict(),
            config_sha256=config.sha256(),
            seed=self.seed,
            transductive=bool(learner.transductive),
            dataset=self.dataset_facts(),
            backbone=None
            if backbone is None
            else BackboneFacts(
                name=backbone.backbone, sha256=backbone.sha256, dataset=backbone.dataset, origin=backbone.origin
            ),
            manifests={m.split: ManifestFacts(**asdict(m), sha256=m.sha256(dataset)) for m in manifests},
            environment=self.environment(),
            meta_parameters=sum(p.numel() for p in learner.parameters()),
            queries_per_episode=config.way * config.query,
            computation=METHODS[config.method].computation,
            **own,
        )
        return Record.of(facts, results, details, took).write(self.folder / RECORD_NAME)


def folder_of(results: Path, config: FewShotConfig, seed: int) -> Path:
    """Where the run of a configuration and a seed is recorded."""
    return results / config.run_name() / f"seed{seed}"
