"""Imitation: an optimizer learns the steps that a hand-designed one takes, on that one's own trajectory.

Tianlong Chen et al., "Training Stronger Baselines for Learning to Optimize", NeurIPS 2020: some of the unrolls of
meta-training are replaced by such ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from fewshot.engine.unroll import Truncation, Unroll
from fewshot.errors import InputError, one_of
from fewshot.general.hand_designed import HAND_DESIGNED, hand_designed
from fewshot.general.stepping import StepperFactory
from fewshot.regularizers.penalty import core_penalty


@dataclass(frozen=True)
class ImitationOptions:
    """Options of imitation; Chen et al. imitate in up to 0.3 of the unrolls."""

    probability: float = 0.0
    """Of an unroll to be one of imitation; 0: never."""
    teacher: str = "adam"
    """Hand-designed optimizer that is imitated."""
    rate: float = 0.01
    """Its learning rate."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise InputError(
                f"training.imitation.probability is {self.probability}; it must lie between 0 (never) and 1 (always)"
            )
        one_of("training.imitation.teacher", self.teacher, HAND_DESIGNED)
        if not 0 < self.rate < float("inf"):
            raise InputError(f"training.imitation.rate is {self.rate}; it must be positive and finite")

    def decide(self, seed: int) -> bool:
        """Whether the unroll with this 63-bit seed is one of imitation."""
        return seed < self.probability * 2**63

    def start(self, steps: int) -> StepperFactory:
        """The teacher, for an unroll of so many steps."""
        return hand_designed(self.teacher, self.rate, steps)


@dataclass
class Imitation(Unroll):
    """Networks trained by a teacher, and a core that sees the same gradients and is to take the same steps.

    A truncation's objective is Σ (½ mean (Δ_teacher - Δ)² + λ R_t): every step has weight 1, the mean is over all
    weights of all networks. Its `loss` is ½ mean (Δ_teacher - Δ)² after each step.
    """

    teacher: StepperFactory = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._teachers = [self.teacher(weights) for weights in self.weights]

    def _truncation(self, step_weights: Sequence[float]) -> Truncation:
        self._detach()
        total, distances, penalties = self.weights.new_zeros(()), [], []
        for _ in step_weights:
            _, gradient = self._losses(self.step)
            update, penalty = self._update(gradient)
            steps = zip(self._teachers, self.weights, gradient, strict=True)
            taught = torch.stack([teacher.step(*step) for teacher, *step in steps])
            distance = (taught - self.weights - update).square().mean() / 2
            total = total + distance + penalty
            distances.append(distance.detach())
            penalties.append(penalty.detach())
            self.weights = taught
            self.step += 1
        total = total + len(step_weights) * (own := core_penalty(self.core, self.regularizer))
        return Truncation(total, total.detach(), torch.stack(distances), torch.stack(penalties) + own.detach())
