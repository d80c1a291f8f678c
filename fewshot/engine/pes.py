"""Persistent evolution strategies: meta-gradients of whole unrolls from truncations, by evaluation alone.

Paul Vicol, Luke Metz and Jascha Sohl-Dickstein, "Unbiased Gradient Estimation in Unrolled Computation Graphs with
Persistent Evolution Strategies", ICML 2021. What backpropagation through a truncation leaves out, how steps before it
changed where it begins, stays in the perturbations that a network has met since its start.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from fewshot.engine.unroll import Objective, Truncation, Unroll
from fewshot.general.tasks import Problem
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.regularizers.base import Regularizer
from fewshot.seeding import derive


@dataclass
class _Pair:
    """One problem, trained twice from the same start, on the same batches, by optimizers φ + ε and φ - ε."""

    plus: Unroll
    minus: Unroll
    seed: int
    met: Tensor
    """Σ ε over the truncations since the start: [parameters of φ]."""


class PersistentUnroll:
    """Training of several pairs of networks, in truncations with an estimate of the meta-gradient each.

    ĝ = mean over pairs of ξ (L⁺ - L⁻) / (2 σ²); ξ: the sum of what perturbed a pair so far, L: the objective of the
    truncation. No graph is kept. It is unbiased for the objective of the whole unroll, smoothed by N(0, σ²), second
    derivatives of networks included, as long as φ stays as it is: between truncations φ moves, as for any estimator.
    """

    def __init__(
        self,
        core: CoordinatewiseOptimizer,
        regularizer: Regularizer,
        problems: Sequence[Problem],
        seed: int,
        judged_on: Literal["same", "next"] = "same",
        objective: Objective = "plain",
        loss_cap: float = float("inf"),
        perturbation: float = 0.01,
    ) -> None:
        """Start the pairs.

        Args:
            core: φ, with `regularizer` attached.
            regularizer: see `Unroll`, as for all that is not named here.
            problems: one a pair.
            seed: decides perturbations, and the regularizer's noise.
            judged_on: see `Unroll`.
            objective: see `Unroll`.
            loss_cap: see `Unroll`; a pair of which one is lost starts afresh as a whole.
            perturbation: σ, the standard deviation of each element of ε.
        """
        self.core, self.perturbation = core, perturbation
        self.truncations = 0
        size = sum(parameter.numel() for parameter in core.parameters())
        self.pairs = []
        for i, problem in enumerate(problems):
            of_pair = derive(seed, "pair", i)
            sides = [
                Unroll(
                    copy.deepcopy(core).requires_grad_(False),
                    regularizer,
                    [problem],
                    of_pair,
                    judged_on,
                    objective=objective,
                    loss_cap=loss_cap,
                )
                for _ in range(2)
            ]
            met = next(core.parameters()).new_zeros(size)
            self.pairs.append(_Pair(sides[0], sides[1], of_pair, met))

    @property
    def lost(self) -> int:
        """Networks, two a pair, that were lost in the truncations so far."""
        return sum(int(side.lost) for pair in self.pairs for side in (pair.plus, pair.minus))

    def truncation(self, step_weights: Sequence[float]) -> Truncation:
        """Advance every pair by a step for each weight; losses and penalties are means over all networks."""
        center = parameters_to_vector(self.core.parameters())
        parts, estimates = [], []
        for pair in self.pairs:
            noise = self._noise(pair)
            pair.met = pair.met + noise
            lost = self.lost
            plus = self._run(pair.plus, center.detach() + noise, step_weights)
            minus = self._run(pair.minus, center.detach() - noise, step_weights)
            estimates.append(pair.met * (plus.objective - minus.objective) / (2 * self.perturbation**2))
            parts += [plus, minus]
            if self.lost > lost:
                pair.plus.give_up()
                pair.minus.give_up()
                pair.met = torch.zeros_like(pair.met)
        self.truncations += 1
        _, objectives, losses, penalties = (torch.stack(column) for column in zip(*parts, strict=True))
        surrogate = torch.stack(estimates).mean(dim=0) @ center
        return Truncation(surrogate, objectives.mean(), losses.mean(dim=0), penalties.mean(dim=0))

    def _noise(self, pair: _Pair) -> Tensor:
        source = torch.Generator().manual_seed(derive(pair.seed, "perturbation", self.truncations))
        drawn = torch.randn(len(pair.met), generator=source)
        return self.perturbation * drawn.to(pair.met)

    @staticmethod
    def _run(side: Unroll, parameters: Tensor, step_weights: Sequence[float]) -> Truncation:
        vector_to_parameters(parameters, side.core.parameters())
        return side.truncation(step_weights)
