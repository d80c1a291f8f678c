"""Meta-training: a few episodes a step, Adam or SGD outside, whatever the learner does inside.

Everything random in a step is a function of the seed and the numbers of its episodes: the episodes themselves, the
augmentation, the regularizer's noise. A checkpoint therefore needs no generator, and a run that was killed and
continued ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.data.episodes import Episode, stack
from fewshot.engine.checkpoint import load_checkpoint, save_checkpoint, snapshot
from fewshot.errors import InputError
from fewshot.learners.base import is_batched
from fewshot.regularizers.base import Regularizer
from fewshot.seeding import derive

FAILURES_IN_A_ROW = 20
CURVE_WINDOW = 10
"""Meta-training steps averaged into one point of the recorded curves."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options of meta-training."""

    episodes: int = 50_000
    """Episodes of meta-training."""
    episodes_per_step: int = 1
    """Episodes whose mean meta-gradient is one step, computed together (learners on features)."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Of the meta-parameters; sgd: with Nesterov momentum 0.9."""
    meta_rate: float = 1e-3
    """Learning rate of that optimizer."""
    weight_decay: float = 0.0
    """L2 penalty on the meta-parameters, within that optimizer."""
    clip: Literal["norm", "value", "none"] = "norm"
    """Clip the meta-gradient by its global L2 norm, or element by element."""
    clip_at: float = 0.25
    """Bound of that clipping."""
    validate_every: int = 1000
    """Episodes between validations."""
    validation_episodes: int = 100
    """Fixed episodes of the validation split; the model with the best mean accuracy on them is tested."""
    augment: bool = False
    """Random resized crop, flip and colour jitter on support and queries of meta-training."""

    def __post_init__(self) -> None:
        for name in ("episodes", "episodes_per_step", "validate_every", "validation_episodes"):
            if getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("meta_rate", "clip_at"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be positive and finite")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"training.weight_decay is {self.weight_decay}; it must be finite and at least 0")
        for name in ("episodes", "validate_every"):
            if getattr(self, name) % self.episodes_per_step:
                raise InputError(
                    f"training.{name} is {getattr(self, name)}; it must be a multiple of training.episodes_per_step,"
                    f" {self.episodes_per_step}"
                )

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of the meta-parameters."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, self.meta_rate, 0.9, weight_decay=self.weight_decay, nesterov=True)
        return torch.optim.Adam(parameters, self.meta_rate, weight_decay=self.weight_decay)


class MetaTrainingFailed(RuntimeError):
    """Meta-training cannot go on; the message is the cause, and belongs in the record."""


class Observer(Protocol):
    """Who watches a run: progress bars, TensorBoard."""

    def step(self, episode: int, scalars: dict[str, float]) -> None: ...

    def validated(self, episode: int, accuracy: float, best: bool) -> None: ...


@dataclass
class Progress:
    """Where a run stands; all of it is in a checkpoint."""

    episode: int = 0
    """Episodes done."""
    skipped: int = 0
    """Steps whose meta-loss or meta-gradient was not finite."""
    skipped_in_a_row: int = 0
    best_episode: int = 0
    best_accuracy: float = -1.0
    curve: list[dict[str, float]] = field(default_factory=list)
    """Means over `CURVE_WINDOW` steps: episode, loss, accuracy, penalty (λ·R), and the learner's diagnostics."""
    window: list[dict[str, float]] = field(default_factory=list)
    """The steps since the last point of the curve."""
    validation: list[dict[str, float]] = field(default_factory=list)
    """Mean accuracy on the validation episodes: episode, accuracy."""
    seconds: float = 0.0
    """Time spent in meta-training, validation included, over all interruptions."""
    interruptions: int = 0


class MetaTrainer:
    """Runs meta-training, and can stop and continue at any step without changing its result."""

    def __init__(
        self,
        learner: nn.Module,
        regularizer: Regularizer,
        options: TrainingOptions,
        seed: int,
        episode_at: Callable[[int], Episode],
        validate: Callable[[nn.Module], np.ndarray],
        identity: dict[str, str],
        checkpoint: Path | None = None,
        checkpoint_seconds: float = 30.0,
    ) -> None:
        """Set up the outer loop.

        Args:
            learner: a `Learner`; all its parameters are meta-parameters.
            regularizer: the one the learner was built with.
            options: see `TrainingOptions`.
            seed: the run's seed.
            episode_at: the meta-training episode of step i, ready for the learner.
            validate: accuracies [episodes] of a learner on the fixed validation episodes.
            identity: what a checkpoint must have been made with (configuration, dataset), by name.
            checkpoint: where to save; continues from there if it exists.
            checkpoint_seconds: time between checkpoints.

        Raises:
            InputError: where the checkpoint cannot be read or belongs to something else, or the learner cannot take
                as many episodes a step.
        """
        self.learner, self.regularizer, self.options, self.seed = learner, regularizer, options, seed
        self.episode_at, self.validate, self.identity = episode_at, validate, identity
        self.checkpoint, self.checkpoint_seconds = checkpoint, checkpoint_seconds
        if options.episodes_per_step > 1 and not is_batched(learner):
            raise InputError(
                f"training.episodes_per_step is {options.episodes_per_step}, but this method takes one episode a step;"
                " use 1"
            )
        self.optimizer = options.build(learner.parameters())
        self.progress = Progress()
        self.best = snapshot(learner)
        if checkpoint is not None and checkpoint.exists():
            self._restore(checkpoint)

    def run(self, observer: Observer) -> Progress:
        """Train to the end, validating and checkpointing on the way.

        Raises:
            MetaTrainingFailed: after 20 steps in a row without a finite meta-gradient.
        """
        progress, started, saved = self.progress, time.monotonic(), time.monotonic()
        before = progress.seconds
        self.learner.train()
        while progress.episode < self.options.episodes:
            scalars = self._step(progress.episode)
            progress.episode += self.options.episodes_per_step
            self._extend_curve(scalars)
            observer.step(progress.episode, scalars)
            due = progress.episode % self.options.validate_every == 0 or progress.episode == self.options.episodes
            if due:
                observer.validated(progress.episode, *self._validate())
            progress.seconds = before + time.monotonic() - started
            if due or time.monotonic() - saved > self.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        return progress

    def _step(self, index: int) -> dict[str, float]:
        """One meta-step (Eq. 6) on the episodes from `index` on: its scalars, NaN where it was skipped."""
        self.regularizer.reseed(derive(self.seed, "regularizer", index))
        count = self.options.episodes_per_step
        episodes = [self.episode_at(i) for i in range(index, index + count)]
        episode = stack(episodes) if count > 1 else episodes[0]
        prediction = self.learner(episode)
        loss = F.cross_entropy(prediction.logits.flatten(0, -2), episode.query_y.flatten())
        penalty = self.regularizer.weight * prediction.penalty / count
        self.optimizer.zero_grad()
        (loss + penalty).backward()
        norm = self._clip()
        if self._finite(loss + penalty, norm, index):
            self.optimizer.step()
        with torch.no_grad():
            accuracy = (prediction.logits.argmax(dim=-1) == episode.query_y).float().mean()
        inner = {name: values.mean() for name, values in prediction.diagnostics.items()}
        scalars = {"loss": loss, "accuracy": accuracy, "penalty": penalty, "gradient_norm": norm, **inner}
        return dict(zip(scalars, torch.stack([s.detach().float() for s in scalars.values()]).tolist(), strict=True))

    def _clip(self) -> Tensor:
        """Clip the meta-gradient; returns its global norm before clipping."""
        parameters = [p for p in self.learner.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.options.clip == "norm":
            nn.utils.clip_grads_with_norm_(parameters, self.options.clip_at, norm)
        elif self.options.clip == "value":
            nn.utils.clip_grad_value_(parameters, self.options.clip_at)
        return norm

    def _finite(self, loss: Tensor, norm: Tensor, index: int) -> bool:
        progress = self.progress
        if math.isfinite(float(loss.detach() + norm)):
            progress.skipped_in_a_row = 0
            return True
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        if progress.skipped_in_a_row >= FAILURES_IN_A_ROW:
            what = "meta-loss" if not math.isfinite(float(loss.detach())) else "meta-gradient"
            raise MetaTrainingFailed(
                f"the {what} was not finite in {FAILURES_IN_A_ROW} meta-training steps in a row, "
                f"the last at episode {index}"
            )
        return False

    def _extend_curve(self, scalars: dict[str, float]) -> None:
        """Average the finite steps of a window into one point; a window without any leaves no point."""
        window = self.progress.window
        window.append(scalars)
        if len(window) == CURVE_WINDOW:
            finite = [step for step in window if all(map(math.isfinite, step.values()))]
            if finite:
                means = {name: float(np.mean([step[name] for step in finite])) for name in finite[0]}
                self.progress.curve.append({"episode": self.progress.episode, **means})
            window.clear()

    def _validate(self) -> tuple[float, bool]:
        """Mean accuracy, and whether it is the best so far; a model that gives non-finite logits scores -1."""
        progress = self.progress
        try:
            accuracy = float(np.mean(self.validate(self.learner)))
        except FloatingPointError:
            accuracy = -1.0
        progress.validation.append({"episode": progress.episode, "accuracy": accuracy})
        better = accuracy > progress.best_accuracy
        if better:
            progress.best_accuracy, progress.best_episode = accuracy, progress.episode
            self.best = snapshot(self.learner)
        return accuracy, better

    def _save(self) -> None:
        if self.checkpoint is not None:
            content = {
                "identity": self.identity,
                "learner": self.learner.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "best": self.best,
                "progress": asdict(self.progress),
            }
            save_checkpoint(self.checkpoint, content)

    def _restore(self, path: Path) -> None:
        content: dict[str, Any] = load_checkpoint(path, next(self.learner.parameters()).device)
        try:
            if content["identity"] != self.identity:
                differing = [name for name in self.identity if content["identity"].get(name) != self.identity[name]]
                raise InputError(
                    f"checkpoint {path} was made with another {' and '.join(differing)}; start over with --fresh"
                )
            self.learner.load_state_dict(content["learner"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.best = content["best"]
            self.progress = Progress(**content["progress"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"checkpoint {path} is incomplete ({error!r:.120}); start over with --fresh") from error
        self.progress.interruptions += 1
