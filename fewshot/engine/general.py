"""Meta-training of optimizers of network weights (Algorithm 1): truncated unrolls inside, Adam outside.

Everything random in unroll i is a function of (seed, i), and checkpoints lie between unrolls: a run that was killed and
continued ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fewshot.engine.checkpoint import load_checkpoint, save_checkpoint, snapshot
from fewshot.engine.curriculum import Curriculum, check_curriculum
from fewshot.engine.few_shot import FAILURES_IN_A_ROW, MetaTrainingFailed
from fewshot.engine.imitation import Imitation, ImitationOptions
from fewshot.engine.unroll import Truncation, Unroll, Weighting, step_weights
from fewshot.errors import InputError
from fewshot.general.evaluate import final_losses
from fewshot.general.stepping import LearnedStepper
from fewshot.general.tasks import Problem
from fewshot.general.variation import VariationOptions, varied
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.regularizers.base import Regularizer
from fewshot.seeding import derive


@dataclass(frozen=True)
class UnrollOptions:
    """Options of meta-training; the defaults are the paper's and its code's."""

    unrolls: int = 2000
    """Trainings of a fresh network (authors' code: 200 epochs of 10)."""
    horizon: int = 200
    """T_total, steps of each; with a curriculum, of the last stage."""
    curriculum: tuple[int, ...] = ()
    """Shorter horizons to begin with, one a stage; none by default."""
    truncation: int = 20
    """T, steps per update of the optimizer."""
    batch_size: int = 128
    """Examples per step."""
    weighting: Weighting = "linear"
    """Weights of the losses within a truncation: linear, authors_code (k T in truncation k), uniform, last."""
    judged_on: Literal["same", "next"] = "same"
    """Batch of the loss after a step: the step's own (authors' code), or the next step's, which costs half as much."""
    meta_rate: float = 1e-4
    """Learning rate of Adam on the optimizer."""
    meta_decay: Literal["none", "cosine"] = "none"
    """How that falls over the unrolls: not at all (the paper), or to zero along half a cosine."""
    clamp: float = 1.0
    """Bound of each element of the meta-gradient."""
    meta_batch: int = 1
    """Networks trained at once; the meta-loss is their mean."""
    recompute: bool = False
    """Recompute inner steps in the backward pass: less memory for large networks, more time."""
    validate_every: int = 50
    """Unrolls between validations."""
    validation_problems: int = 5
    """Fixed initializations; the optimizer with the least mean validation loss at the end of the horizon is tested."""
    variation: VariationOptions = field(default_factory=VariationOptions)
    """Of training problems alone."""
    imitation: ImitationOptions = field(default_factory=ImitationOptions)
    """Of a hand-designed optimizer, in some of the unrolls."""

    def __post_init__(self) -> None:
        for name in (
            "unrolls", "horizon", "truncation", "batch_size", "meta_batch", "validate_every", "validation_problems"
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("meta_rate", "clamp"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be positive and finite")
        if self.horizon % self.truncation:
            raise InputError(
                f"training.horizon {self.horizon} is no multiple of training.truncation {self.truncation}; make it one"
            )
        check_curriculum(self.curriculum, self.horizon, self.truncation, self.unrolls)

    def meta_rate_at(self, unroll: int) -> float:
        """Learning rate of Adam in an unroll, counted from 0."""
        share = (1 + math.cos(math.pi * unroll / self.unrolls)) / 2 if self.meta_decay == "cosine" else 1.0
        return share * self.meta_rate


class UnrollObserver(Protocol):
    """Who watches a run."""

    def step(self, unroll: int, scalars: dict[str, float]) -> None: ...

    def validated(self, unroll: int, loss: float, best: bool) -> None: ...


@dataclass
class UnrollProgress:
    """Where a run stands; all of it is in a checkpoint."""

    unroll: int = 0
    """Unrolls done."""
    skipped: int = 0
    """Unrolls given up because a loss or a meta-gradient was not finite."""
    skipped_in_a_row: int = 0
    best_unroll: int = 0
    best_loss: float | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    """Every finished unroll: its number, mean loss and penalty (λ R) over steps, loss after the last step."""
    imitation: list[dict[str, float]] = field(default_factory=list)
    """Every finished unroll of imitation instead: its number, mean distance to the teacher and penalty over steps."""
    validation: list[dict[str, float | None]] = field(default_factory=list)
    """unroll, horizon and loss; None where a problem diverged."""
    stages: list[dict[str, int]] = field(default_factory=list)
    """Of the curriculum, those begun: horizon, and unrolls done before."""
    seconds: float = 0.0
    interruptions: int = 0


class UnrollTrainer:
    """Runs meta-training, and can stop and continue at any unroll without changing its result."""

    def __init__(
        self,
        core: CoordinatewiseOptimizer,
        regularizer: Regularizer,
        options: UnrollOptions,
        seed: int,
        problem: Callable[[int], Problem],
        validation: list[Problem],
        identity: dict[str, str],
        checkpoint: Path | None = None,
        checkpoint_seconds: float = 30.0,
    ) -> None:
        """Set up the outer loop.

        Args:
            core: what is trained, with the regularizer attached.
            regularizer: with its λ.
            options: see `UnrollOptions`.
            seed: the run's seed.
            problem: the meta-training problem with a given seed.
            validation: fixed problems of stage val.
            identity: what a checkpoint must have been made with, by name.
            checkpoint: where to save; continues from there if it exists.
            checkpoint_seconds: time between checkpoints.

        Raises:
            InputError: where the checkpoint cannot be read or belongs to something else.
        """
        self.core, self.regularizer, self.options, self.seed = core, regularizer, options, seed
        self.problem, self.validation, self.identity = problem, validation, identity
        self.checkpoint, self.checkpoint_seconds = checkpoint, checkpoint_seconds
        self.adam = torch.optim.Adam(core.parameters(), options.meta_rate)
        self.curriculum = Curriculum((*options.curriculum, options.horizon), options.unrolls)
        self.progress = UnrollProgress(stages=[{"horizon": self.curriculum.horizons[0], "unroll": 0}])
        self.best = snapshot(core)
        if checkpoint is not None and checkpoint.exists():
            self._restore(checkpoint)

    def run(self, observer: UnrollObserver) -> UnrollProgress:
        """Train to the end, validating and checkpointing on the way.

        Raises:
            MetaTrainingFailed: after 20 unrolls in a row without a finite meta-gradient.
        """
        progress, started, saved = self.progress, time.monotonic(), time.monotonic()
        before = progress.seconds
        while progress.unroll < self.options.unrolls:
            scalars = self._unroll(progress.unroll)
            progress.unroll += 1
            if scalars is not None:
                kept = progress.imitation if "distance" in scalars else progress.curve
                kept.append({"unroll": progress.unroll, **scalars})
                observer.step(progress.unroll, scalars)
            due = progress.unroll % self.options.validate_every == 0
            due = due or progress.unroll == self.curriculum.deadline(self._stage)
            if due:
                loss, improved = self._validate()
                observer.validated(progress.unroll, loss, improved)
                self._advance(improved)
            progress.seconds = before + time.monotonic() - started
            if due or time.monotonic() - saved > self.checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        return progress

    def _unroll(self, index: int) -> dict[str, float] | None:
        """Train fresh networks once, the optimizer after every truncation; None where that was not finite.

        Returns:
            loss, penalty and final_loss of the unroll; of one of imitation, distance and penalty.
        """
        options = self.options
        for group in self.adam.param_groups:
            group["lr"] = options.meta_rate_at(index)
        problems = [self._problem(derive(self.seed, "problem", index, i)) for i in range(options.meta_batch)]
        seed = derive(self.seed, "unroll", index)
        of_core = (self.core, self.regularizer, problems, seed, options.judged_on, options.recompute)
        imitates = options.imitation.decide(derive(self.seed, "imitation", index))
        unroll = Imitation(*of_core, teacher=options.imitation.start()) if imitates else Unroll(*of_core)
        parts = []  # without their graphs
        for k in range(self.curriculum.horizons[self._stage] // options.truncation):
            part = unroll.truncation(step_weights(options.weighting, k, options.truncation))
            if not self._meta_step(part):
                self._skip(index)
                return None
            parts.append((part.loss, part.penalty))
        self.progress.skipped_in_a_row = 0
        losses, penalties = map(torch.cat, zip(*parts, strict=True))
        found = torch.stack([losses.mean(), penalties.mean(), losses[-1]]).tolist()
        if imitates:
            return {"distance": found[0], "penalty": found[1]}
        return dict(zip(("loss", "penalty", "final_loss"), found, strict=True))

    def _problem(self, seed: int) -> Problem:
        return varied(self.problem(seed), self.options.variation, derive(seed, "variation"))

    def _meta_step(self, part: Truncation) -> bool:
        """Update the optimizer, unless something was not finite: whether it was."""
        self.adam.zero_grad()
        part.surrogate.backward()
        norm = nn.utils.get_total_norm([p.grad for p in self.core.parameters() if p.grad is not None])
        if not math.isfinite(float(norm + part.loss.sum() + part.penalty.sum())):
            return False
        nn.utils.clip_grad_value_(self.core.parameters(), self.options.clamp)
        self.adam.step()
        return True

    def _skip(self, index: int) -> None:
        self.progress.skipped += 1
        self.progress.skipped_in_a_row += 1
        if self.progress.skipped_in_a_row >= FAILURES_IN_A_ROW:
            raise MetaTrainingFailed(
                f"a loss or the meta-gradient was not finite in {FAILURES_IN_A_ROW} unrolls in a row, "
                f"the last in unroll {index}"
            )

    def _validate(self) -> tuple[float, bool]:
        """Mean final loss on the validation problems, and whether it is the best so far at this horizon."""
        progress, horizon = self.progress, self.curriculum.validated_at(self._stage)
        loss = float(np.mean(final_losses(self.validation, lambda w: LearnedStepper(self.core, w), horizon)))
        finite = math.isfinite(loss)
        progress.validation.append({"unroll": progress.unroll, "horizon": horizon, "loss": loss if finite else None})
        better = finite and (progress.best_loss is None or loss < progress.best_loss)
        if better:
            progress.best_loss, progress.best_unroll = loss, progress.unroll
            self.best = snapshot(self.core)
        return loss, better

    @property
    def _stage(self) -> int:
        return len(self.progress.stages) - 1

    def _advance(self, improved: bool) -> None:
        """Begin the curriculum's next stage from the best optimizer of this one, if this one is over."""
        progress, stage = self.progress, self._stage
        begun = progress.stages[-1]["unroll"]
        losses = [point["loss"] for point in progress.validation if (point["unroll"] or 0) > begun]
        if not self.curriculum.is_over(stage, progress.unroll, losses, improved):
            return
        if progress.best_loss is not None:
            self.core.load_state_dict(self.best)
        self.adam = torch.optim.Adam(self.core.parameters(), self.options.meta_rate)
        progress.stages.append({"horizon": self.curriculum.horizons[stage + 1], "unroll": progress.unroll})
        if self.curriculum.validated_at(stage + 1) != self.curriculum.validated_at(stage):
            progress.best_loss = None

    def _save(self) -> None:
        if self.checkpoint is not None:
            content = {
                "identity": self.identity,
                "core": self.core.state_dict(),
                "adam": self.adam.state_dict(),
                "best": self.best,
                "progress": asdict(self.progress),
            }
            save_checkpoint(self.checkpoint, content)

    def _restore(self, path: Path) -> None:
        content: dict[str, Any] = load_checkpoint(path, next(self.core.parameters()).device)
        try:
            if content["identity"] != self.identity:
                differing = [name for name in self.identity if content["identity"].get(name) != self.identity[name]]
                raise InputError(
                    f"checkpoint {path} was made with another {' and '.join(differing)}; start over with --fresh"
                )
            self.core.load_state_dict(content["core"])
            self.adam.load_state_dict(content["adam"])
            self.best: dict[str, Tensor] = content["best"]
            self.progress = UnrollProgress(**content["progress"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise InputError(f"checkpoint {path} is incomplete ({error!r:.120}); start over with --fresh") from error
        self.progress.interruptions += 1
