"""Meta-training: a few episodes a step, Adam or SGD outside, whatever the learner does inside.

Everything random in a step is a function of the seed and the numbers of its episodes: the episodes themselves, the
augmentation, the regularizer's noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.data.episodes import Episode, stack
from fewshot.engine.loop import Outcome, Progress, Trainer, TrainingFailed
from fewshot.errors import InputError
from fewshot.learners.base import is_batched
from fewshot.regularizers.base import Regularizer
from fewshot.seeding import derive

CURVE_WINDOW = 10
"""Meta-training steps averaged into one point of the recorded curves."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options of meta-training."""

    episodes: int = 50_000
    """Episodes of meta-training."""
    episodes_per_step: int = 1
    """Episodes whose mean meta-gradient is one step, computed together."""
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


class MetaTrainingFailed(TrainingFailed):
    """Meta-training cannot go on; the message is the cause, and belongs in the record."""


@dataclass
class MetaProgress(Progress):
    """Where a run stands. A point of its curve is the mean over `CURVE_WINDOW` steps: episode, loss, accuracy, penalty
    (λ R), and the learner's diagnostics; one of its validation is episode and accuracy, -1 where a logit was not
    finite."""

    window: list[dict[str, float]] = field(default_factory=list)
    """The steps since the last point of the curve."""

    @property
    def episode(self) -> int:
        """Episodes done."""
        return self.done

    @property
    def best_episode(self) -> int:
        return self.best_at

    @property
    def best_accuracy(self) -> float:
        return -1.0 if self.best_score is None else self.best_score


class MetaTrainer(Trainer):
    """Meta-training of a few-shot learner."""

    unit = "episode"
    plural = "meta-training steps"
    failure = MetaTrainingFailed
    progress: MetaProgress

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
        self.episode_at, self.validate = episode_at, validate
        count = options.episodes_per_step
        if count > 1 and not is_batched(learner):
            raise InputError(f"training.episodes_per_step is {count}, but this method takes one episode a step; use 1")
        optimizer = options.build(learner.parameters())
        super().__init__(
            learner, optimizer, MetaProgress(), options.episodes, identity, checkpoint, checkpoint_seconds, stride=count
        )

    def _step(self, index: int) -> Outcome:
        """One meta-step (Eq. 6) on the episodes from `index` on: its scalars, NaN where it was skipped."""
        self.regularizer.reseed(derive(self.seed, "regularizer", index))
        episodes = [self.episode_at(i) for i in range(index, index + self.stride)]
        episode = stack(episodes) if self.stride > 1 else episodes[0]
        prediction = self.learner(episode)
        loss = F.cross_entropy(prediction.logits.flatten(0, -2), episode.query_y.flatten())
        objective = loss + prediction.penalty
        self.optimizer.zero_grad()
        objective.backward()
        norm = self._clip()
        not_finite = None
        if math.isfinite(float(objective.detach() + norm)):
            self.optimizer.step()
        else:
            not_finite = "the meta-gradient" if math.isfinite(float(objective.detach())) else "the meta-loss"
        with torch.no_grad():
            accuracy = (prediction.logits.argmax(dim=-1) == episode.query_y).float().mean()
        inner = {name: values.mean() for name, values in prediction.diagnostics.items()}
        scalars = {"loss": loss, "accuracy": accuracy, "penalty": prediction.penalty, "gradient_norm": norm, **inner}
        values = torch.stack([s.detach().float() for s in scalars.values()]).tolist()
        return Outcome(dict(zip(scalars, values, strict=True)), not_finite)

    def _clip(self) -> Tensor:
        """Clip the meta-gradient; returns its global norm before clipping."""
        parameters = [p for p in self.learner.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.options.clip == "norm":
            nn.utils.clip_grads_with_norm_(parameters, self.options.clip_at, norm)
        elif self.options.clip == "value":
            nn.utils.clip_grad_value_(parameters, self.options.clip_at)
        return norm

    def _keep(self, scalars: dict[str, float]) -> None:
        """Average the finite steps of a window into one point; a window without any leaves no point."""
        window = self.progress.window
        window.append(scalars)
        if len(window) == CURVE_WINDOW:
            finite = [step for step in window if all(map(math.isfinite, step.values()))]
            if finite:
                means = {name: float(np.mean([step[name] for step in finite])) for name in finite[0]}
                self.progress.curve.append({"episode": self.progress.done, **means})
            window.clear()

    def _is_due(self) -> bool:
        return self.progress.done % self.options.validate_every == 0 or self.progress.done == self.total

    def _score(self) -> float | None:
        try:
            return float(np.mean(self.validate(self.learner)))
        except FloatingPointError:
            return None

    def _point(self, score: float | None) -> dict[str, Any]:
        return {"episode": self.progress.done, "accuracy": -1.0 if score is None else score}
