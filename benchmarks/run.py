"""The few-shot benchmark: `python -m benchmarks.run --method meta_lstm --smooth --way 5 --shot 1`."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.few_shot.command import Command, parse
from benchmarks.few_shot.config import RunConfig
from benchmarks.pretrain import ensure
from benchmarks.reporting.render import to_text
from benchmarks.reporting.rows import load
from benchmarks.reporting.tables import to_frame
from benchmarks.running.device import choose_device, device_name
from benchmarks.running.observe import RunObserver
from benchmarks.running.record import RECORD_NAME, commit, peak_memory, read_record, versions, write_record
from fewshot.backbones.features import AugmentedSampler, open_features
from fewshot.backbones.file import BackboneInfo, read_info
from fewshot.backbones.pretrain import PretrainingFailed
from fewshot.console import run_command
from fewshot.data.augment import Augment
from fewshot.data.catalog import CATALOG, open_dataset, pixels_of
from fewshot.data.episodes import Episode, EpisodeSampler
from fewshot.data.manifest import Manifest
from fewshot.data.preprocess import Preprocess
from fewshot.data.store import Dataset
from fewshot.engine.checkpoint import snapshot
from fewshot.engine.evaluate import count_correct
from fewshot.engine.few_shot import MetaTrainer, MetaTrainingFailed, Progress
from fewshot.errors import InputError
from fewshot.files import only_one, replacing
from fewshot.learners import METHODS
from fewshot.learners.features import FeatureOptions
from fewshot.regularizers import REGULARIZERS
from fewshot.seeding import derive


class FewShotRun:
    """One configuration with one seed, from its checked inputs to its record."""

    def __init__(
        self,
        config: RunConfig,
        seed: int,
        dataset: Dataset,
        folder: Path,
        device: torch.device,
        backbone: BackboneInfo | None = None,
    ) -> None:
        """Build everything that can be refused, before any work.

        Args:
            config: what to run.
            seed: of everything random in it.
            dataset: of images, or of the features of `backbone`.
            folder: where it is recorded.
            device: where it runs.
            backbone: what features come from; None for methods on images.

        Raises:
            InputError: where the episodes asked for do not exist, or an option does not fit the learner.
        """
        self.config, self.seed, self.dataset, self.folder, self.device = config, seed, dataset, folder, device
        self.backbone = backbone
        views = isinstance(config.learner, FeatureOptions) and config.learner.views > 0
        sampler: Any = AugmentedSampler if views else EpisodeSampler
        sizes = {"way": config.way, "shot": config.shot, "query": config.query}
        self.training = sampler(dataset["train"], **sizes, seed=derive(seed, "episodes"))
        self.validation = self._manifest("val", config.training.validation_episodes)
        self.test = self._manifest("test", config.test.episodes)
        self.preprocess = Preprocess(device, *_normalization(config))
        self.augment = Augment() if config.training.augment else None
        self.regularizer = REGULARIZERS[config.regularizer](config.penalty)
        self.learner = self._build()

    def _manifest(self, split: str, count: int) -> Manifest:
        c = self.config
        manifest = Manifest(
            self.dataset.name, self.dataset.fingerprint, split, c.way, c.shot, c.query, c.test.seed, count
        )
        manifest.sampler(self.dataset)
        return manifest

    def _build(self) -> nn.Module:
        method, shape = METHODS[self.config.method], self.dataset["train"].shape
        channels, (height, width) = shape[-1], shape[1:3] if method.learns_from == "images" else (1, 1)
        if height != width:
            raise InputError(f"images of {self.dataset.name} are {height}×{width}; learners need square ones")
        generator = torch.Generator().manual_seed(derive(self.seed, "init"))
        learner = method.build(channels, height, self.config.way, self.config.learner, self.regularizer, generator)
        return learner.to(self.device)

    def execute(self, command: Command) -> dict[str, Any]:
        """Meta-train, test, record; continues from a checkpoint. Returns the record."""
        checkpoint = self.folder / "checkpoint.pt"
        trainer = MetaTrainer(
            self.learner,
            self.regularizer,
            self.config.training,
            self.seed,
            self._training_episode,
            lambda learner: self._correct(learner, self.validation) / (self.config.way * self.config.query),
            self._identity(),
            checkpoint,
            command.checkpoint_seconds,
        )
        results, failure, test_seconds = {}, None, 0.0
        title, done = f"{self.config.method} {self.config.regularizer} seed {self.seed}", trainer.progress.episode
        with RunObserver(self.folder, title, command.quiet, done) as observer:
            observer.begin("meta-training", self.config.training.episodes, done)
            try:
                trainer.run(observer)
                tested = time.monotonic()
                results = self._test(trainer, observer)
                test_seconds = time.monotonic() - tested
            except (MetaTrainingFailed, FloatingPointError) as error:
                failure = str(error)
        return self._write(trainer.progress, results, failure, test_seconds)

    def _identity(self) -> dict[str, str]:
        identity = {
            "number of classes (way)": str(self.config.way),  # first to be named: weights are tied to it
            "configuration": self.config.sha256(),
            "dataset": self.dataset.fingerprint,
            "seed": str(self.seed),
        }
        return identity if self.backbone is None else {**identity, "backbone": self.backbone.sha256}

    def _training_episode(self, index: int) -> Episode:
        return self.preprocess(self.training[index], self.augment, derive(self.seed, "augment", index))

    def _correct(
        self, learner: nn.Module, manifest: Manifest, advance: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        sampler = manifest.sampler(self.dataset)
        return count_correct(learner, (self.preprocess(sampler[i]) for i in range(manifest.count)), advance)

    def _test(self, trainer: MetaTrainer, observer: RunObserver) -> dict[str, Any]:
        """Correct queries per test episode, of the model that validated best and of the last one; both are saved."""
        progress = trainer.progress
        if not progress.best_episode:
            raise MetaTrainingFailed("no validation gave finite logits")
        models = {"best": (progress.best_episode, trainer.best), "last": (progress.episode, snapshot(self.learner))}
        results: dict[str, Any] = {}
        for name, (episode, weights) in models.items():
            save_weights(self.folder / f"{name}.safetensors", weights)
            if name == "last" and episode == progress.best_episode:
                results[name] = results["best"]
                continue
            observer.begin(f"test, {name} model", self.test.count)
            self.learner.load_state_dict(weights)
            correct = self._correct(self.learner, self.test, observer.advance)
            results[name] = {"episode": episode, "correct": correct.tolist()}
        return results

    def _write(
        self, progress: Progress, results: dict[str, Any], failure: str | None, test_seconds: float
    ) -> dict[str, Any]:
        record = {
            "track": "few_shot",
            "status": "failed" if failure else "finished",
            "failure": failure,
            "config": self.config.to_dict(),
            "config_sha256": self.config.sha256(),
            "seed": self.seed,
            "transductive": self.learner.transductive,
            "dataset": {
                "name": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "pixels": pixels_of(self.dataset),
            },
            "backbone": None
            if self.backbone is None
            else {
                "name": self.backbone.backbone,
                **{name: getattr(self.backbone, name) for name in ("sha256", "dataset", "origin")},
            },
            "manifests": {
                m.split: {**asdict(m), "sha256": m.sha256(self.dataset)} for m in (self.validation, self.test)
            },
            "versions": versions(),
            "commit": commit(),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "meta_parameters": sum(p.numel() for p in self.learner.parameters()),
            "training": {
                name: getattr(progress, name)
                for name in ("episode", "skipped", "best_episode", "best_accuracy", "curve", "validation")
            },
            "queries_per_episode": self.config.way * self.config.query,
            "test": results,
        }
        measured = {
            "train_seconds": progress.seconds,
            "test_seconds": test_seconds,
            "peak_memory_bytes": peak_memory(),
            "interruptions": progress.interruptions,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return write_record(self.folder / RECORD_NAME, record, measured)


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights as safetensors, completely or not at all."""
    with replacing(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary)


def _normalization(config: RunConfig) -> tuple[Any, Any]:
    if not config.normalize:
        return None, None
    entry = CATALOG.get(config.dataset)
    if entry is None or entry.mean is None:
        raise InputError(
            f"normalize: no published mean and deviation for {config.dataset!r}; "
            "leave --normalize out or use --no-normalize"
        )
    return entry.mean, entry.std


def _finished(folder: Path, dataset: Dataset, backbone: BackboneInfo | None, fresh: bool) -> dict[str, Any] | None:
    """The record of an earlier run, if it still speaks of the dataset and the backbone at hand."""
    path = folder / RECORD_NAME
    if fresh or not path.exists():
        return None
    record = read_record(path)
    if record["dataset"]["fingerprint"] != dataset.fingerprint:
        raise InputError(f"{path} was made with another version of {dataset.name}; run again with --fresh")
    if backbone is not None and record["backbone"]["sha256"] != backbone.sha256:
        raise InputError(f"{path} was made with other weights of {backbone.backbone}; run again with --fresh")
    return record


def with_features(command: Command, dataset: Dataset, device: torch.device) -> tuple[Dataset, BackboneInfo | None]:
    """What the method learns from: the dataset as it is, or with features of a backbone for images.

    The backbone is pre-trained and the features are computed where they are missing.

    Raises:
        InputError: where the backbone must be pre-trained by hand, or does not fit the dataset.
    """
    learner = command.learner
    if not isinstance(learner, FeatureOptions):
        return dataset, None
    for split in ("train", "val", "test"):  # sizes are refused before, not after, the long work
        EpisodeSampler(dataset[split], command.way, command.shot, command.query)
    path = ensure(dataset, learner.backbone, results=command.backbones, device=device, quiet=command.quiet)
    splits = open_features(dataset, path, command.features, learner.views, command.force, command.quiet, device)
    return replace(dataset, splits=splits), read_info(path)


def run_seed(
    command: Command, seed: int, dataset: Dataset, device: torch.device, backbone: BackboneInfo | None = None
) -> dict[str, Any]:
    """Run one seed of a command, or return the record of a finished one; arguments as of `FewShotRun`."""
    folder = command.folder(seed)
    run = FewShotRun(command.config, seed, dataset, folder, device, backbone)
    if command.manifest is not None:
        run.test.export(command.manifest, dataset)
    with only_one(folder, "running the same command"):
        record = _finished(folder, dataset, backbone, command.fresh)
        if record is not None:
            print(f"seed {seed} was finished before: {folder / RECORD_NAME} (--fresh runs it again)")
            return record
        if command.fresh:
            discard(folder)
        return run.execute(command)


def _compared_folders(command: Command) -> list[Path]:
    """Where the runs of a command and of its plain partner lie."""
    configs = (command.config.plain(), command.config)
    folders = dict.fromkeys(command.results / config.run_name() for config in configs)
    return [folder for folder in folders if folder.exists()]


def discard(folder: Path) -> None:
    """Remove what an earlier run left in its folder."""
    for path in folder.iterdir():
        if path.name == "tensorboard":
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and print the table of what it ran."""
    command = parse(arguments, Path(os.environ.get("FEWSHOT_DATA", "data")))
    device = choose_device(command.device)
    dataset = open_dataset(command.config.dataset, command.data, command.quiet)
    try:
        dataset, backbone = with_features(command, dataset, device)
    except PretrainingFailed as error:
        raise SystemExit(f"pre-training failed: {error}") from None
    records = [run_seed(command, seed, dataset, device, backbone) for seed in command.seeds]
    for record in records:
        if record["failure"]:
            print(f"seed {record['seed']} failed: {record['failure']}")
    print(to_text(to_frame(load(_compared_folders(command)))))
    if any(record["failure"] for record in records):
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
