"""Pre-training of a backbone: classification of all training classes, as Hu et al. 2020 train SIB's (`main_feat.py`).

Everything random in step i is a function of (seed, i), and a batch is shared out among the processes that train
together: neither interruptions nor, up to rounding, the number of processes change the result.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fewshot.backbones.batches import Batches
from fewshot.backbones.distributed import World, synchronize
from fewshot.engine.checkpoint import load_checkpoint, save_checkpoint, snapshot
from fewshot.errors import InputError
from fewshot.nets.blocks import FeatureNet, channels_last


@dataclass(frozen=True)
class PretrainOptions:
    """Options of pre-training; defaults of Hu et al. on miniImageNet (their 6 000 steps of warm-up are 10 epochs)."""

    epochs: int = 70
    """Passes over the training split, those of the warm-up included."""
    warmup_epochs: int = 10
    """Passes in which the learning rate grows linearly from 0."""
    milestones: tuple[int, ...] = (60,)
    """After so many epochs the learning rate falls."""
    decay: float = 0.1
    """What the learning rate is multiplied by at each milestone."""
    rate: float = 0.1
    """Learning rate of SGD with Nesterov momentum."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    """Of all weights."""
    batch_size: int = 64
    """Images a step, over all processes; what is left of an epoch is dropped."""
    scale: float = 10.0
    """Initial scale of the cosine classifier; it is learned."""
    pad: int = 8
    """Training crops may begin so many pixels outside of the image."""
    flip: bool = False
    """Mirror every other training image; refused where the mirror image shows another class, as with characters."""
    jitter: float = 0.4
    """Strength of random changes of brightness, contrast and saturation."""
    precision: Literal["auto", "full"] = "auto"
    """auto: bfloat16 where the device multiplies it in hardware; full: float32."""
    validate_every: int = 1
    """Epochs between validations."""
    validation_episodes: int = 1000
    """Fixed episodes of the validation split, nearest centroid; the backbone with the best mean is kept."""
    validation_way: int = 5
    """Classes of a validation episode; support and query images of each follow."""
    validation_shot: int = 1
    validation_query: int = 15

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validate_every", "validation_episodes"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("rate", "decay", "scale"):
            _check(name, getattr(self, name), 0 < getattr(self, name) < math.inf, "positive and finite")
        for name in ("weight_decay", "jitter", "pad"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) < math.inf, "at least 0")
        _check("momentum", self.momentum, 0 < self.momentum < 1, "between 0 and 1")
        _check("warmup_epochs", self.warmup_epochs, 0 <= self.warmup_epochs <= self.epochs, "from 0 to epochs")
        _check("milestones", self.milestones, list(self.milestones) == sorted(self.milestones), "in rising order")

    def rate_at(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of a step: linear warm-up, then constant between milestones."""
        warmup = self.warmup_epochs * steps_per_epoch
        grown = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return self.rate * grown * self.decay ** bisect_right(self.milestones, step // steps_per_epoch)


class PretrainingFailed(RuntimeError):
    """Pre-training cannot go on; the message is the cause."""


class CosineClassifier(nn.Module):
    """A backbone and one direction a class: logits are a learned scale times cosines."""

    def __init__(self, net: FeatureNet, classes: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.net = net
        spread = math.sqrt(2 / net.features)
        self.weight = nn.Parameter(torch.empty(classes, net.features).normal_(0, spread, generator=generator))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, classes]."""
        features = self.net(images).float()
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


class Observer(Protocol):
    """Who watches: a progress bar."""

    def step(self, step: int, loss: float, accuracy: float) -> None: ...

    def validated(self, accuracy: float, best: bool) -> None: ...


@dataclass
class PretrainProgress:
    """Where pre-training stands; all of it is in a checkpoint."""

    step: int = 0
    """Steps done."""
    best_step: int = 0
    best_accuracy: float = -1.0
    curve: list[dict[str, float]] = field(default_factory=list)
    """Means over each epoch: epoch, loss, accuracy."""
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Of loss and accuracy over the steps of this epoch."""
    validation: list[dict[str, float]] = field(default_factory=list)
    """Mean accuracy on the validation episodes: epoch, accuracy."""
    seconds: float = 0.0
    interruptions: int = 0


class Pretrainer:
    """Runs pre-training, and can stop and continue at any step without changing its result."""

    def __init__(
        self,
        model: CosineClassifier,
        batches: Batches,
        options: PretrainOptions,
        validate: Callable[[FeatureNet], np.ndarray],
        identity: dict[str, str],
        checkpoint: Path,
        checkpoint_seconds: float = 30.0,
        world: World = World(),  # noqa: B008  # immutable
    ) -> None:
        """Set up; continues from `checkpoint` if it exists.

        Args:
            model: on the CPU, freshly initialized, the same in all processes.
            batches: the training data.
            options: see `PretrainOptions`.
            validate: accuracies [episodes] of a backbone on the fixed validation episodes; the leading process asks.
            identity: what a checkpoint must have been made with, by name.
            checkpoint: where to save; processes on several hosts must see the same file.
            checkpoint_seconds: time between checkpoints.
            world: the processes that train together.

        Raises:
            InputError: where the checkpoint cannot be read or belongs to something else.
        """
        device = batches.device
        if world.size > 1:
            synchronize(model.net, device)
        self.model = channels_last(model.to(device))
        self.batches, self.options, self.validate, self.identity = batches, options, validate, identity
        self.checkpoint, self.checkpoint_seconds, self.world = checkpoint, checkpoint_seconds, world
        self.sgd = torch.optim.SGD(
            model.parameters(), options.rate, options.momentum, weight_decay=options.weight_decay, nesterov=True
        )
        self.progress, self.best = PretrainProgress(), snapshot(model.net)
        if checkpoint.exists():
            self._restore()
        if not world.agrees(self.progress.step, device):
            raise InputError(
                f"processes found different checkpoints at {checkpoint}; give a folder that all hosts share"
            )
        self.parallel = DistributedDataParallel(model, broadcast_buffers=False) if world.size > 1 else model
        self.autocast = options.precision == "auto" and has_bfloat16(device)

    def run(self, observer: Observer) -> PretrainProgress:
        """Train to the end, validating and checkpointing on the way.

        Raises:
            PretrainingFailed: where the loss is no longer finite.
        """
        progress, started, saved = self.progress, time.monotonic(), time.monotonic()
        before, per_epoch = progress.seconds, self.batches.steps_per_epoch
        self.model.train()
        while progress.step < self.options.epochs * per_epoch:
            loss, accuracy = self._step(progress.step)
            progress.step += 1
            observer.step(progress.step, loss, accuracy)
            epoch_ended = progress.step % per_epoch == 0
            if epoch_ended:
                self._end_epoch(progress.step // per_epoch, observer)
            progress.seconds = before + time.monotonic() - started
            if epoch_ended or time.monotonic() - saved > self.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        return progress

    def _step(self, step: int) -> tuple[float, float]:
        """One step of SGD: loss and accuracy over the whole batch."""
        self.sgd.param_groups[0]["lr"] = self.options.rate_at(step, self.batches.steps_per_epoch)
        images, labels = self.batches(step)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            logits = self.parallel(images)
        loss = F.cross_entropy(logits, labels)
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()
        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
        scalars = self.world.mean(torch.stack([loss.detach(), accuracy])).tolist()
        if not math.isfinite(scalars[0]):
            raise PretrainingFailed(f"the loss was not finite at step {step}; lower training.rate")
        self.progress.sums = [total + value for total, value in zip(self.progress.sums, scalars, strict=True)]
        return scalars[0], scalars[1]

    def _end_epoch(self, epoch: int, observer: Observer) -> None:
        progress = self.progress
        loss, accuracy = (total / self.batches.steps_per_epoch for total in progress.sums)
        progress.curve.append({"epoch": epoch, "loss": loss, "accuracy": accuracy})
        progress.sums = [0.0, 0.0]
        if self.world.leads and (epoch % self.options.validate_every == 0 or epoch == self.options.epochs):
            observer.validated(*self._validate(epoch))

    def _validate(self, epoch: int) -> tuple[float, bool]:
        """Mean accuracy, and whether it is the best so far."""
        progress, accuracy = self.progress, float(np.mean(self.validate(self.model.net)))
        progress.validation.append({"epoch": epoch, "accuracy": accuracy})
        better = accuracy > progress.best_accuracy
        if better:
            progress.best_accuracy, progress.best_step = accuracy, progress.step
            self.best = snapshot(self.model.net)
        return accuracy, better

    def _save(self) -> None:
        if self.world.leads:
            content = {
                "identity": self.identity,
                "model": self.model.state_dict(),
                "sgd": self.sgd.state_dict(),
                "best": self.best,
                "progress": asdict(self.progress),
            }
            save_checkpoint(self.checkpoint, content)

    def _restore(self) -> None:
        path = self.checkpoint
        content: dict[str, Any] = load_checkpoint(path, self.batches.device)
        try:
            differing = [name for name in self.identity if content["identity"].get(name) != self.identity[name]]
            if differing:
                raise InputError(
                    f"checkpoint {path} was made with another {' and '.join(differing)}; start over with --fresh"
                )
            self.model.load_state_dict(content["model"])
            self.sgd.load_state_dict(content["sgd"])
            self.best = content["best"]
            self.progress = PretrainProgress(**content["progress"])
        except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            raise InputError(f"checkpoint {path} is incomplete ({error!r:.120}); start over with --fresh") from error
        self.progress.interruptions += 1


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware: GPUs since Ampere, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # new in torch 2.10
    return bool(capabilities().get("amx_bf16", False))


def _check(name: str, value: object, good: bool, valid: str) -> None:
    if not good:
        raise InputError(f"training.{name} is {value}; it must be {valid}")
