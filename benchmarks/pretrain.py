"""Pre-train a backbone: `python -m benchmarks.pretrain --dataset mini_imagenet --backbone wrn_28_10`.

On several GPUs or hosts, with a folder of results that all of them share:
`python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.pretrain …`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from benchmarks.backbones.config import (
    DEFAULT_RESULTS,
    Command,
    PretrainConfig,
    command_line,
    fitted,
    options,
    parse,
    preset,
)
from benchmarks.few_shot.config import config_sha256
from benchmarks.few_shot.presets import QUICK_DATASETS
from benchmarks.running.device import choose_device, device_name
from benchmarks.running.record import commit, peak_memory, read_record, versions, write_record
from fewshot.backbones.batches import Batches
from fewshot.backbones.centroid import centroid_accuracy
from fewshot.backbones.distributed import World, joined
from fewshot.backbones.file import load_backbone, save_backbone
from fewshot.backbones.foreign_weights import import_weights
from fewshot.backbones.pretrain import CosineClassifier, Pretrainer, PretrainingFailed
from fewshot.console import progress, run_command
from fewshot.data.catalog import open_dataset, pixels_of
from fewshot.data.episodes import EpisodeSampler
from fewshot.data.store import Dataset
from fewshot.errors import InputError
from fewshot.files import only_one
from fewshot.nets.backbone import build_backbone
from fewshot.nets.blocks import FeatureNet
from fewshot.seeding import derive
from fewshot.weights_file import weights_sha256

RECORD_NAME = "pretraining.json"
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
    results: Path = DEFAULT_RESULTS,
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
    command = Command(**options(config), results=results, quiet=quiet)
    Pretraining(command, seed, dataset, device or torch.device("cpu"), World()).execute()
    return path


class Pretraining:
    """One configuration with one seed, from its checked inputs to its files."""

    def __init__(self, command: Command, seed: int, dataset: Dataset, device: torch.device, world: World) -> None:
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

    def execute(self) -> dict[str, Any]:
        """Train unless that is done, and write `best.safetensors`, `last.safetensors` and the record.

        Returns:
            The record.
        """
        folder = self.path.parent
        with only_one(folder, "pre-training") if self.world.leads else contextlib.nullcontext():
            if self.command.fresh and self.world.leads:
                _discard(folder)
            self.world.wait()
            if self.path.is_file():
                return read_record(folder / RECORD_NAME)
            trainer = self._trainer(folder / "checkpoint.pt")
            self._run(trainer)
            record = self._write(trainer) if self.world.leads else {}
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

    def _write(self, trainer: Pretrainer) -> dict[str, Any]:
        """The best backbone is written last: where it is, everything is."""
        folder, at = self.path.parent, trainer.progress
        last = replace(self.info, origin=f"{self.info.origin}, step {at.step}")
        best = replace(self.info, origin=f"{self.info.origin}, step {at.best_step}")
        save_backbone(folder / "last.safetensors", trainer.model.net.state_dict(), last)
        record = {
            "track": "pretraining",
            "config": self.command.to_dict(),
            "config_sha256": self.command.sha256(),
            "seed": self.seed,
            "dataset": {
                "name": self.dataset.name,
                "fingerprint": self.dataset.fingerprint,
                "pixels": pixels_of(self.dataset),
            },
            "versions": versions(),
            "commit": commit(),
            "device": device_name(self.device),
            "processes": self.world.size,
            "threads": torch.get_num_threads(),
            "bfloat16": trainer.autocast,
            "training": {
                name: value for name, value in asdict(at).items() if name not in ("sums", "seconds", "interruptions")
            },
        }
        measured = {
            "train_seconds": at.seconds,
            "interruptions": at.interruptions,
            "peak_memory_bytes": peak_memory(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        written = write_record(folder / RECORD_NAME, record, measured)
        save_backbone(self.path, trainer.best, best)
        return written


class _Bar:
    """Shows pre-training."""

    def __init__(self, display: Progress, title: str, total: int, done: int) -> None:
        self._display, self._validated = display, ""
        self._task = display.add_task(title, total=total, completed=done, note="")

    def step(self, step: int, loss: float, accuracy: float) -> None:
        self._display.update(self._task, completed=step, note=f"loss {loss:.2f}{self._validated}")

    def validated(self, accuracy: float, best: bool) -> None:
        self._validated = f", validation {accuracy:.1%}{' (best)' if best else ''}"


def bring_in(command: Command, dataset: Dataset, weights: Path) -> tuple[Path, float]:
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


def _validation_sampler(command: Command, dataset: Dataset) -> EpisodeSampler:
    t = command.training
    try:
        return EpisodeSampler(dataset["val"], t.validation_way, t.validation_shot, t.validation_query, _VALIDATION_SEED)
    except InputError as error:
        raise InputError(f"{error}; `{command_line(fitted(command.config, dataset))}` fits") from error


def _discard(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != ".lock":
            path.unlink()


def run_seed(command: Command, seed: int, dataset: Dataset, device: torch.device, world: World) -> dict[str, Any]:
    """Pre-train with one seed, or find that it was done."""
    pretraining = Pretraining(command, seed, dataset, device, world)
    if pretraining.path.is_file() and not command.fresh and world.leads:
        print(f"seed {seed} was finished before (--fresh trains it again)")
    return pretraining.execute()


def _report(path: Path, record: dict[str, Any]) -> None:
    training = record["training"]
    print(
        f"{path}: validation accuracy {training['best_accuracy']:.2%}, best of {len(training['validation'])}"
        f" validations, after {training['best_step']} of {training['step']} steps;"
        f" {record['measured']['train_seconds']:.0f} s"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    command = parse(arguments, Path(os.environ.get("FEWSHOT_DATA", "data")))
    with joined(choose_device(command.device)) as (world, device):
        with world.leader_first():  # it may have to draw glyphs
            dataset = open_dataset(command.dataset, command.data, command.quiet or not world.leads)
        if command.import_weights is not None:
            path, accuracy = bring_in(command, dataset, command.import_weights)
            print(f"{path}: validation accuracy {accuracy:.2%}; use it with --learner.backbone {path}")
            return
        for seed in command.seeds:
            try:
                record = run_seed(command, seed, dataset, device, world)
            except PretrainingFailed as error:
                raise SystemExit(f"seed {seed} failed: {error}") from None
            if world.leads:
                _report(backbone_path(command.results, command.config, dataset, seed), record)


if __name__ == "__main__":
    run_command(main)
