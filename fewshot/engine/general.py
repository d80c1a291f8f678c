"""Meta-training of optimizers of network weights (Algorithm 1): truncated unrolls inside, Adam outside.

Everything random in unroll i is a function of (seed, i), and checkpoints lie between unrolls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fewshot.engine.curriculum import Curriculum
from fewshot.engine.few_shot import MetaTrainingFailed
from fewshot.engine.imitation import Imitation
from fewshot.engine.loop import Outcome, Progress, Trainer
from fewshot.engine.pes import PersistentUnroll
from fewshot.engine.unroll import Truncation, Unroll, step_weights
from fewshot.engine.unroll_options import UnrollOptions
from fewshot.general.evaluate import final_losses
from fewshot.general.stepping import LearnedStepper, StepperFactory
from fewshot.general.tasks import Problem
from fewshot.general.variation import varied
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.regularizers.base import Regularizer
from fewshot.seeding import derive


@dataclass
class UnrollProgress(Progress):
    """Where a run stands. A point of its curve is a finished unroll: its number, mean loss and penalty (λ R) over
    steps, loss after the last step, and with a loss cap how many networks were lost beyond it; one of its validation is
    unroll, horizon and loss, None where a problem diverged.
    """

    imitation: list[dict[str, float]] = field(default_factory=list)
    """Every finished unroll of imitation instead: its number, mean distance to the teacher and penalty over steps."""
    stages: list[dict[str, int]] = field(default_factory=list)
    """Of the curriculum, those begun: horizon, and unrolls done before."""
    cut: float = 0.0
    """Shares of meta-gradient elements that the clamp cut, summed over steps."""
    meta_steps: int = 0
    """Of Adam."""

    @property
    def unroll(self) -> int:
        """Unrolls done."""
        return self.done

    @property
    def best_unroll(self) -> int:
        return self.best_at

    @property
    def best_loss(self) -> float | None:
        return self.best_score

    @property
    def clipped(self) -> float:
        """Mean share of meta-gradient elements that the clamp cut."""
        return self.cut / max(1, self.meta_steps)

    def exploded(self, guessing: float) -> float:
        """Share of unrolls, of imitation not counted, that ended above the loss of guessing, lost a network on the way,
        or were given up."""
        high = sum(point["final_loss"] > guessing or point.get("lost", 0) > 0 for point in self.curve)
        return (high + self.skipped) / max(1, len(self.curve) + self.skipped)


class UnrollTrainer(Trainer):
    """Meta-training of an optimizer of network weights."""

    unit = "unroll"
    plural = "unrolls"
    higher_is_better = False
    failure = MetaTrainingFailed
    progress: UnrollProgress

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
        self.problem, self.validation = problem, validation
        self.curriculum = Curriculum((*options.curriculum, options.horizon), options.unrolls)
        adam = torch.optim.Adam(core.parameters(), options.meta_rate)
        progress = UnrollProgress(stages=[{"horizon": self.curriculum.horizons[0], "unroll": 0}])
        super().__init__(core, adam, progress, options.unrolls, identity, checkpoint, checkpoint_seconds)

    def _step(self, index: int) -> Outcome:
        """Train fresh networks once, the optimizer after every truncation; ended where that is not finite.

        Its scalars are loss, penalty and final_loss of the unroll; of one of imitation, distance and penalty.
        """
        options = self.options
        for group in self.optimizer.param_groups:
            group["lr"] = options.meta_rate_at(index)
        problems = [self._problem(derive(self.seed, "problem", index, i)) for i in range(options.meta_batch)]
        seed = derive(self.seed, "unroll", index)
        imitates = options.imitation.decide(derive(self.seed, "imitation", index))
        horizon = options.horizon_at(derive(self.seed, "horizon", index), self.curriculum.horizons[self._stage])
        unroll = self._unroll(problems, seed, options.imitation.start(horizon) if imitates else None)
        parts = []  # without their graphs
        for k in range(horizon // options.truncation):
            part = unroll.truncation(
                step_weights(options.weighting, k, options.truncation, normalized=options.normalize_weights)
            )
            if not self._meta_step(part):
                return Outcome(None, "a loss or the meta-gradient")
            parts.append((part.loss, part.penalty))
        losses, penalties = map(torch.cat, zip(*parts, strict=True))
        mean, penalty, final = torch.stack([losses.mean(), penalties.mean(), losses[-1]]).tolist()
        if imitates:
            return Outcome({"distance": mean, "penalty": penalty})
        lost = {} if options.loss_cap == math.inf else {"lost": float(unroll.lost)}
        return Outcome({"loss": mean, "penalty": penalty, "final_loss": final, **lost})

    def _unroll(self, problems: list[Problem], seed: int, teacher: StepperFactory | None) -> Unroll | PersistentUnroll:
        options = self.options
        what = self.core, self.regularizer, problems, seed, options.judged_on
        how = {"objective": options.objective, "loss_cap": options.loss_cap}
        if teacher is not None:
            return Imitation(*what, options.recompute, **how, teacher=teacher)
        if options.estimator == "pes":
            return PersistentUnroll(*what, **how, perturbation=options.perturbation)
        return Unroll(*what, options.recompute, options.second_order, **how)

    def _problem(self, seed: int) -> Problem:
        return varied(self.problem(seed), self.options.variation, derive(seed, "variation"))

    def _meta_step(self, part: Truncation) -> bool:
        """Update the optimizer, unless something was not finite: whether it was."""
        self.optimizer.zero_grad()
        part.surrogate.backward()
        norm = nn.utils.get_total_norm([p.grad for p in self.core.parameters() if p.grad is not None])
        if not math.isfinite(float(norm + part.loss.sum() + part.penalty.sum())):
            return False
        self.progress.meta_steps += 1
        self.progress.cut += self._clip(norm)
        self.optimizer.step()
        return True

    def _clip(self, norm: Tensor) -> float:
        """Clip the meta-gradient, whose norm is given; returns the share of it that was cut: of elements, or all."""
        options, parameters = self.options, [p for p in self.core.parameters() if p.grad is not None]
        if options.clip == "norm":
            nn.utils.clip_grads_with_norm_(parameters, options.clamp, norm)
            return float(norm > options.clamp)
        elements = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        nn.utils.clip_grad_value_(parameters, options.clamp)
        return float((elements.abs() > options.clamp).float().mean())

    def _keep(self, scalars: dict[str, float]) -> None:
        points = self.progress.imitation if "distance" in scalars else self.progress.curve
        points.append({"unroll": self.progress.done, **scalars})

    def _is_due(self) -> bool:
        done = self.progress.done
        return done % self.options.validate_every == 0 or done == self.curriculum.deadline(self._stage)

    def _score(self) -> float | None:
        """Mean final loss on the validation problems."""
        loss = float(np.mean(self.losses()))
        return loss if math.isfinite(loss) else None

    def losses(self) -> list[float]:
        """Final loss of the optimizer as it is on each validation problem; infinite where it diverged."""
        sizes = self.validation[0].sizes()
        return final_losses(self.validation, lambda w: LearnedStepper(self.core, w, sizes), self.validated_at)

    @property
    def validated_at(self) -> int:
        """The horizon of validation in the present stage."""
        return self.curriculum.validated_at(self._stage)

    def _point(self, score: float | None) -> dict[str, Any]:
        return {"unroll": self.progress.done, "horizon": self.validated_at, "loss": score}

    @property
    def _stage(self) -> int:
        return len(self.progress.stages) - 1

    def _after_validation(self, better: bool) -> None:
        """Begin the curriculum's next stage from the best optimizer of this one, if this one is over."""
        progress, stage = self.progress, self._stage
        begun = progress.stages[-1]["unroll"]
        losses = [point["loss"] for point in progress.validation if point["unroll"] > begun]
        if not self.curriculum.is_over(stage, progress.done, losses, better):
            return
        if progress.best_score is not None:
            self.core.load_state_dict(self.best)
        self.optimizer = torch.optim.Adam(self.core.parameters(), self.options.meta_rate)
        progress.stages.append({"horizon": self.curriculum.horizons[stage + 1], "unroll": progress.done})
        if self.curriculum.validated_at(stage + 1) != self.curriculum.validated_at(stage):
            progress.best_score = None
