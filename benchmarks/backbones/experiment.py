"""Pre-training of one backbone, from its checked inputs to its files."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from benchmarks.backbones.command import PretrainCommand, command_of
from benchmarks.backbones.config import (
    DEFAULT_BACKBONES,
    PRESETS,
    QUICK_DATASETS,
    PretrainConfig,
    command_line,
    fitted,
    preset,
)
from benchmarks.running.execute import CHECKPOINT_NAME, discard, environment, measured
from benchmarks.running.identity import config_sha256
from benchmarks.running.record import Record, read_record
from benchmarks.running.schema import DatasetFacts, PretrainingDetails, PretrainingFacts, PretrainingTraining
from fewshot.backbones.batches import Batches
from fewshot.backbones.centroid import centroid_accuracy
from fewshot.backbones.distributed import World
from fewshot.backbones.file import load_backbone, save_backbone
from fewshot.backbones.foreign_weights import import_weights
from fewshot.backbones.pretrain import CosineClassifier, Pretrainer
from fewshot.console import progress
from fewshot.data.catalog import CATALOG, pixels_of
from fewshot.data.episodes import EpisodeSampler
from fewshot.data.store import Dataset
from fewshot.errors import InputError
from fewshot.files import only_one
from fewshot.nets.backbone import BACKBONES, build_backbone
from fewshot.nets.blocks import FeatureNet
from fewshot.seeding import derive
from fewshot.weights_file import weights_sha256

PRETRAINING_NAME = "pretraining.json"
TRAINED_ON_FIRST_USE = "conv4_64"
"""The backbone that `ensure` trains by itself, on the small datasets."""
_VALIDATION_SEED = 0


def backbone_path(results: Path, config: PretrainConfig, dataset: Dataset, seed: int = 0) -> Path:
    """Where pre-training leaves the backbone that validated best: `DATASET-BACKBONE-HASH/seedS/best.safetensors`.

    The hash is of the configuration and of the dataset's fingerprint: another version of a dataset has its own.
    """
    identity = config_sha256({"config": config.to_dict(), "dataset": dataset.fingerprint})
    return results / f"{dataset.name}-{config.backbone}-{identity[:10]}" / f"seed{seed}" / "best.safetensors"


def ensure(
    dataset: Dataset,
    backbone: str,
    seed: int = 0,
    results: Path = DEFAULT_BACKBONES,
    device: torch.device | None = None,
    quiet: bool = False,
) -> Path:
    """The file of a backbone for `dataset`, as its default preset trains it.

    Conv4-64 for glyphs and Omniglot is trained here and now where it is missing (minutes on two CPU cores).

    Args:
        dataset: what it must have been trained on.
        backbone: key of `BACKBONES`; or the path of a backbone file, trained on whatever it was, returned as it is.
        seed: of its pre-training.
        results: folder of backbones.
        device: where to train; None: the CPU.
        quiet: no progress bars.

    Raises:
        InputError: where it must be pre-trained first, naming the command.
        PretrainingFailed: where training does not work out.
    """
    if Path(backbone).is_file():
        return Path(backbone)
    config = fitted(preset("auto", PretrainConfig(dataset.name, backbone)), dataset)
    path = backbone_path(results, config, dataset, seed)
    if path.is_file():
        return path
    if backbone != TRAINED_ON_FIRST_USE or dataset.name not in QUICK_DATASETS:
        seeds = f" --seeds {seed}" if seed else ""
        raise InputError(
            f"there is no {backbone} for {dataset.name} at {path}; pre-train it with"
            f" `{command_line(config)}{seeds}`,"
            " or give the file of one that you have as --learner.backbone"
        )
    command = command_of(config, results=results, quiet=quiet)
    Pretraining(command, seed, dataset, device or torch.device("cpu"), World()).execute(wait=True)
    return path


class Pretraining:
    """One configuration with one seed, from its checked inputs to its files."""

    def __init__(
        self, command: PretrainCommand, seed: int, dataset: Dataset, device: torch.device, world: World
    ) -> None:
        """Check and build.

        Raises:
            InputError: where batches or validation episodes do not exist, or the images do not fit.
        """
        self.command, self.seed, self.dataset, self.device, self.world = command, seed, dataset, device, world
        training = command.training
        self.path = backbone_path(command.results, command.config, dataset, seed)
        self.info = command.info(dataset, f"benchmarks.pretrain, seed {seed}")
        self.validation = _validation_sampler(command, dataset)
        train, view = dataset["train"], self.info.view
        self.batches = Batches(train, view, self.info.augment, training.batch_size, seed, device, world)
        generator = torch.Generator().manual_seed(derive(seed, "init"))
        net = build_backbone(command.backbone, view.channels, view.crop, generator)
        self.model = CosineClassifier(net, len(train.class_names), training.scale, generator)

    def execute(self, wait: bool = False) -> Record | None:
        """Train unless that is done, and write `best.safetensors`, `last.safetensors` and the record.

        Args:
            wait: where another process is at it, wait for it instead of raising.

        Returns:
            The record; None in a process that does not lead.
        """
        folder = self.path.parent
        with only_one(folder, "pre-training", wait) if self.world.leads else contextlib.nullcontext():
            if self.command.fresh and self.world.leads:
                discard(folder)
            self.world.wait()
            if self.path.is_file():
                return read_record(folder / PRETRAINING_NAME)
            trainer = self._trainer(folder / CHECKPOINT_NAME)
            self._run(trainer)
            record = self._write(trainer) if self.world.leads else None
            self.world.wait()
            return record

    def _trainer(self, checkpoint: Path) -> Pretrainer:
        command = self.command
        identity = {
            "configuration": command.sha256(),
            "dataset": self.dataset.fingerprint,
            "seed": str(self.seed),
        }
        return Pretrainer(
            self.model,
            self.batches,
            command.training,
            self._accuracies,
            identity,
            checkpoint,
            command.checkpoint_seconds,
            self.world,
        )

    def _accuracies(self, net: FeatureNet) -> np.ndarray:
        return centroid_accuracy(net, self.info.view, self.validation, self.command.training.validation_episodes)

    def _run(self, trainer: Pretrainer) -> None:
        total = self.command.training.epochs * self.batches.steps_per_epoch
        with progress(self.command.quiet or not self.world.leads) as display:
            title = f"{self.command.backbone} on {self.dataset.name}, seed {self.seed}"
            trainer.run(_Bar(display, title, total, trainer.progress.step))

    def _write(self, trainer: Pretrainer) -> Record:
        """The best backbone is written last: where it is, everything is."""
        folder, at = self.path.parent, trainer.progress
        last = replace(self.info, origin=f"{self.info.origin}, step {at.step}")
        best = replace(self.info, origin=f"{self.info.origin}, step {at.best_step}")
        save_backbone(folder / "last.safetensors", trainer.model.net.state_dict(), last)
        facts = PretrainingFacts(
            config=self.command.to_dict(),
            config_sha256=self.command.sha256(),
            seed=self.seed,
            dataset=DatasetFacts(
                name=self.dataset.name, fingerprint=self.dataset.fingerprint, pixels=pixels_of(self.dataset)
            ),
            environment=environment(
                self.device,
                ((BACKBONES, self.command.backbone), (CATALOG, self.dataset.name), (PRESETS, self.command.preset)),
            ),
            processes=self.world.size,
            bfloat16=trainer.autocast,
            training=PretrainingTraining(step=at.step, best_step=at.best_step, best_accuracy=at.best_accuracy),
        )
        details = PretrainingDetails(curve=at.curve, validation=at.validation)
        took = measured(at.seconds, 0.0, at.interruptions)
        written = Record.of(facts, None, details, took).write(folder / PRETRAINING_NAME)
        save_backbone(self.path, trainer.best, best)
        return written


class _Bar:
    """Shows pre-training."""

    def __init__(self, display: Progress, title: str, total: int, done: int) -> None:
        self._display, self._validated = display, ""
        self._task = display.add_task(title, total=total, completed=done, note="")

    def step(self, done: int, scalars: dict[str, float]) -> None:
        self._display.update(self._task, completed=done, note=f"loss {scalars['loss']:.2f}{self._validated}")

    def validated(self, done: int, score: float, best: bool) -> None:
        self._validated = f", validation {score:.1%}{' (best)' if best else ''}"


def bring_in(command: PretrainCommand, dataset: Dataset, weights: Path) -> tuple[Path, float]:
    """Make a backbone file of weights that were trained elsewhere. Its name is their hash, whatever theirs is.

    Returns:
        Its path, and its mean accuracy on the validation episodes, to compare with what its authors report.

    Raises:
        InputError: where the file cannot be read, or does not fit the backbone.
    """
    sampler, info = _validation_sampler(command, dataset), command.info(dataset, f"imported from {weights.name}")
    tensors = import_weights(weights, command.backbone, info.view.channels, info.view.crop)
    content = {"weights": weights_sha256(tensors), "view": asdict(info.view), "dataset": dataset.fingerprint}
    folder = command.results / f"{dataset.name}-{command.backbone}-imported"
    path = folder / f"{config_sha256(content)[:16]}.safetensors"
    save_backbone(path, tensors, info)
    net, _ = load_backbone(path)
    return path, float(centroid_accuracy(net, info.view, sampler, command.training.validation_episodes).mean())


def _validation_sampler(command: PretrainCommand, dataset: Dataset) -> EpisodeSampler:
    t = command.training
    try:
        return EpisodeSampler(dataset["val"], t.validation_way, t.validation_shot, t.validation_query, _VALIDATION_SEED)
    except InputError as error:
        raise InputError(f"{error}; `{command_line(fitted(command.config, dataset))}` fits") from error
