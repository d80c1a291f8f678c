"""Pre-training of a backbone: classification of all training classes, as Hu et al. 2020 train SIB's (`main_feat.py`).

Everything random in step i is a function of (seed, i), and a batch is shared out among the processes that train
together: neither interruptions nor, up to rounding, the number of processes change the result.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fewshot.backbones.batches import Batches
from fewshot.backbones.distributed import World, synchronize
from fewshot.engine.loop import Outcome, Progress, Trainer, TrainingFailed
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
    """Nesterov momentum of that SGD."""
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
    precision: Literal["auto", "full", "fp32", "bf16"] = "auto"
    """fp32: float32 (full is its older name); bf16: convolutions and products in bfloat16; auto: that on GPUs since
    Ampere and CPUs with AMX. `--precision` is short for `--training.precision`."""
    validate_every: int = 1
    """Epochs between validations."""
    validation_episodes: int = 1000
    """Fixed episodes of the validation split, nearest centroid; the backbone with the best mean is kept."""
    validation_way: int = 5
    """Classes of a validation episode."""
    validation_shot: int = 1
    """Its support images of a class."""
    validation_query: int = 15
    """Its query images of a class."""

    def __post_init__(self) -> None:
        if self.precision == "fp32":
            object.__setattr__(self, "precision", "full")  # the same configuration, with the same hash
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


class PretrainingFailed(TrainingFailed):
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


@dataclass
class PretrainProgress(Progress):
    """Where pre-training stands. A point of its curve is the mean over an epoch: epoch, loss, accuracy; one of its
    validation is epoch and accuracy."""

    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Of loss and accuracy over the steps of this epoch."""

    @property
    def step(self) -> int:
        """Steps done."""
        return self.done

    @property
    def best_step(self) -> int:
        """Steps after which the backbone that is kept was taken."""
        return self.best_at

    @property
    def best_accuracy(self) -> float:
        """Its mean accuracy on the validation episodes, 0 to 1; -1 before the first validation."""
        return -1.0 if self.best_score is None else self.best_score


class Pretrainer(Trainer):
    """Pre-training of a backbone, in one process or several."""

    patience = 1
    remedy = "; lower training.rate"
    failure = PretrainingFailed
    model: CosineClassifier
    progress: PretrainProgress

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
        model = channels_last(model.to(device))
        self.batches, self.options, self.validate, self.world = batches, options, validate, world
        sgd = torch.optim.SGD(
            model.parameters(), options.rate, options.momentum, weight_decay=options.weight_decay, nesterov=True
        )
        total = options.epochs * batches.steps_per_epoch
        super().__init__(
            model, sgd, PretrainProgress(), total, identity, checkpoint, checkpoint_seconds, writes=world.leads
        )
        if not world.agrees(self.progress.done, device):
            raise InputError(
                f"processes found different checkpoints at {checkpoint}; give a folder that all hosts share"
            )
        self.parallel = DistributedDataParallel(model, broadcast_buffers=False) if world.size > 1 else model
        self.autocast = options.precision == "bf16" or (options.precision == "auto" and has_bfloat16(device))

    @property
    def kept(self) -> FeatureNet:
        """The backbone, without the classifier."""
        return self.model.net

    def _step(self, index: int) -> Outcome:
        """One step of SGD: loss and accuracy over the whole batch."""
        self.optimizer.param_groups[0]["lr"] = self.options.rate_at(index, self.batches.steps_per_epoch)
        images, labels = self.batches(index)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            logits = self.parallel(images)
        loss = F.cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
        loss, accuracy = self.world.mean(torch.stack([loss.detach(), accuracy])).tolist()
        return Outcome({"loss": loss, "accuracy": accuracy}, None if math.isfinite(loss) else "the loss")

    def _keep(self, scalars: dict[str, float]) -> None:
        """Add to the sums of this epoch; at its end, they are one point."""
        progress, per_epoch = self.progress, self.batches.steps_per_epoch
        progress.sums = [total + scalars[name] for total, name in zip(progress.sums, ("loss", "accuracy"), strict=True)]
        if progress.done % per_epoch == 0:
            loss, accuracy = (total / per_epoch for total in progress.sums)
            progress.curve.append({"epoch": self._epoch, "loss": loss, "accuracy": accuracy})
            progress.sums = [0.0, 0.0]

    @property
    def _epoch(self) -> int:
        """Epochs done."""
        return self.progress.done // self.batches.steps_per_epoch

    def _is_due(self) -> bool:
        if not self.world.leads or self.progress.done % self.batches.steps_per_epoch:
            return False
        return self._epoch % self.options.validate_every == 0 or self.progress.done == self.total

    def _score(self) -> float | None:
        return float(np.mean(self.validate(self.model.net)))

    def _point(self, score: float | None) -> dict[str, Any]:
        return {"epoch": self._epoch, "accuracy": score}


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware: GPUs since Ampere, CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # new in torch 2.10
    return bool(capabilities().get("amx_bf16", False))


def _check(name: str, value: object, good: bool, valid: str) -> None:
    if not good:
        raise InputError(f"training.{name} is {value}; it must be {valid}")
