"""One training of several networks at once by a learned optimizer, in truncations with a meta-gradient each.

First order, the gradient that a core sees is a constant. Therefore ∇ℓ at every weight vector can be taken
at once, on detached weights, and the meta-gradient of Σ w_t ℓ(θ_t) is that of Σ w_t ⟨∇ℓ(θ_t), θ_t⟩ with ∇ℓ constant: no
graph of a network is ever kept, only the core's, through one truncation. Second order, there is one graph of networks
and core through a truncation, and the meta-gradient is that of the truncation as it is.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fewshot.general.stepping import loss_and_gradient
from fewshot.general.tasks import Problem
from fewshot.optimizers.blocks import lengths
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.core import Hidden
from fewshot.optimizers.observe import Memory
from fewshot.regularizers.base import Regularizer
from fewshot.regularizers.penalty import core_penalty, inner_step, weighted
from fewshot.seeding import derive

Weighting = Literal["linear", "authors_code", "uniform", "last"]
Objective = Literal["plain", "log"]


def step_weights(weighting: Weighting, truncation: int, length: int, normalized: bool = False) -> list[float]:
    """w_t of the steps of one truncation.

    Args:
        weighting: linear: t = 1 … T within the truncation (section 4.3); authors_code: k T throughout truncation k,
            zero in the first; uniform: 1; last: 1 for the last step, else 0.
        truncation: k, counted from 0.
        length: T.
        normalized: divided by Σ w_t, unless all are zero.
    """
    weights = _step_weights(weighting, truncation, length)
    total = sum(weights) if normalized else 0.0
    return [weight / total for weight in weights] if total else weights


def _step_weights(weighting: Weighting, truncation: int, length: int) -> list[float]:
    if weighting == "linear":
        return [float(t) for t in range(1, length + 1)]
    if weighting == "authors_code":
        return [float(truncation * length)] * length
    if weighting == "uniform":
        return [1.0] * length
    return [0.0] * (length - 1) + [1.0]


class Truncation(NamedTuple):
    """What one truncation gives."""

    surrogate: Tensor
    """Has the meta-gradient of the truncation's objective; its value means nothing."""
    objective: Tensor
    """Value of that, a scalar without graph: Σ w_t (ℓ_t + λ R_t), or with ln ℓ_t; a lost network counts as the cap."""
    loss: Tensor
    """Mean loss after each step, over networks, of lost ones the cap: [T], no graph."""
    penalty: Tensor
    """λ R per step, that of the core included: [T], no graph."""


@dataclass
class Unroll:
    """Several networks of one size in training; rows of the core are all their weights, one network after another."""

    core: CoordinatewiseOptimizer
    regularizer: Regularizer
    problems: Sequence[Problem]
    seed: int
    """Decides the regularizer's noise."""
    judged_on: Literal["same", "next"] = "same"
    """The batch of ℓ_t: the step's own, or the next step's."""
    recompute: bool = False
    """Recompute the core's inner steps in the backward pass instead of keeping them: slower, in less memory."""

    second_order: bool = False
    """Differentiate what the core sees, too: how a step changes the gradients of the steps after it."""
    objective: Objective = "plain"
    """Of each network: Σ w_t ℓ_t, or Σ w_t ln ℓ_t."""
    loss_cap: float = math.inf
    """Multiple of a network's loss before its first step. Once its loss is beyond that, or its gradient not finite, a
    network is lost: it has weight 0, stands still at its initial weights, and starts afresh with the next truncation.
    """

    def __post_init__(self) -> None:
        self.step = 0
        self.weights = torch.stack([problem.init() for problem in self.problems])
        self._lengths = lengths(self.weights, self.problems[0].sizes())
        self.memory, self.hidden = self._no_memory(self.weights)
        self._gradient: Tensor | None = None
        self._batches: tuple[int, list[Any]] = (-1, [])
        self._start, self._cap = self.weights, torch.empty(0)
        self._alive = torch.ones(len(self.weights), dtype=torch.bool, device=self.weights.device)
        self.lost = torch.zeros((), dtype=torch.int64, device=self.weights.device)
        """Networks that were lost, in the truncations so far."""

    def truncation(self, step_weights: Sequence[float]) -> Truncation:
        """Advance by a step for each weight w_t; Eq. 5: Σ w_t (ℓ_t + λ R_t), each ℓ_t after its step, or ln ℓ_t.

        A penalty on the core itself counts once per step, so that λ means the same for every regularizer.
        """
        with contextlib.nullcontext() if self.recompute else self.core.unroll():
            return self._truncation(step_weights)

    def _truncation(self, step_weights: Sequence[float]) -> Truncation:
        self._detach()
        self._replace_lost()
        surrogate = objective = self.weights.new_zeros(())
        losses, penalties = [], []
        for step_weight in step_weights:
            penalty = self._advance(self._observed())
            loss, slope = self._capped_losses(self.step + (self.judged_on == "next"))
            self._gradient = slope if self.judged_on == "next" else None
            # the mean over networks, as everywhere: a larger meta-batch is a better estimate of the same
            value = pull = self._outer(loss).mean()
            if not self.second_order:
                pull = (self._outer_slope(loss, slope) * self.weights).sum() / len(self.problems)
            surrogate = surrogate + step_weight * (pull + penalty)
            objective = objective + step_weight * (value + penalty).detach()
            losses.append(loss.mean().detach())
            penalties.append(penalty.detach())
            self.step += 1
        self.lost = self.lost + (~self._alive).sum()
        own = core_penalty(self.core, self.regularizer)
        return Truncation(
            surrogate + sum(step_weights) * own,
            objective + sum(step_weights) * own.detach(),
            torch.stack(losses),
            torch.stack(penalties) + own.detach(),
        )

    def give_up(self) -> None:
        """Count every network as lost: all start afresh with the next truncation, if there is a loss cap."""
        self._alive = torch.zeros_like(self._alive)

    def _observed(self) -> Tensor:
        """The gradient [tasks, P] at the current weights on the step's batch."""
        return self._capped_losses(self.step)[1] if self._gradient is None else self._gradient

    def _outer(self, loss: Tensor) -> Tensor:
        """What the weights w_t weight, for losses [tasks]; NaN where a logarithm has no value."""
        return loss if self.objective == "plain" else self._positive(loss).log()

    def _outer_slope(self, loss: Tensor, slope: Tensor) -> Tensor:
        """Of the objective, [tasks, P], for losses [tasks] and their gradients; NaN where a logarithm has none."""
        if self.objective == "plain":
            return slope
        return slope / self._positive(loss).unsqueeze(-1)

    @staticmethod
    def _positive(loss: Tensor) -> Tensor:
        return loss.clamp_min(torch.finfo(loss.dtype).tiny).masked_fill(loss < 0, math.nan)  # ∇ℓ is 0 where ℓ is

    def _advance(self, gradient: Tensor) -> Tensor:
        """One step of all networks; λ R of it."""
        update, penalty = self._update(gradient)
        self.weights = self.weights + update
        return penalty

    def _update(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """What the core adds to the weights [tasks, P] for a gradient there, and λ R of that step."""
        state, self.memory = self.core.observe(gradient, self.weights, self.memory, self.hidden)
        rows = state.reshape(-1, state.shape[-1])
        seed = derive(self.seed, "regularizer", self.step)
        if self.recompute:
            update, penalty, *hidden = checkpoint(self._core_step, seed, rows, *self.hidden, use_reentrant=False)  # pyright: ignore[reportGeneralTypeIssues]
        else:
            update, penalty, *hidden = self._core_step(seed, rows, *self.hidden)
        self.hidden = tuple(hidden)
        return update.view_as(self.weights), weighted(self.regularizer, penalty)

    def _core_step(self, seed: int, rows: Tensor, *hidden: Tensor) -> tuple[Tensor, ...]:
        self.regularizer.reseed(seed)
        # what is recomputed runs after the truncation's context has ended
        with self.core.unroll() if self.recompute else contextlib.nullcontext():
            step, penalty = inner_step(self.core, self.regularizer, rows, hidden, networks=len(self.problems))
        return step.update, penalty, *step.next_hidden

    def _capped_losses(self, step: int) -> tuple[Tensor, Tensor]:
        """`_losses`; networks that these show to be lost go back to their start, with gradient 0 and the cap as loss.

        Nothing here waits for the device.
        """
        loss, gradient = self._losses(step)
        if self.loss_cap == math.inf:
            return loss, gradient
        self._alive = self._alive & (loss <= self._cap) & gradient.isfinite().all(dim=-1)
        alive = self._alive.unsqueeze(-1)
        self.weights = torch.where(alive, self.weights, self._start)
        return torch.where(self._alive, loss, self._cap), gradient.where(alive, 0.0)

    def _replace_lost(self) -> None:
        """Networks that were lost start afresh: their initial weights, no memory, the batches that are due."""
        if self.loss_cap == math.inf:
            return
        if self.step == 0:
            self._cap = self.loss_cap * self._losses(0)[0].detach()
        memory, hidden = self._no_memory(self._start)
        self.memory = tuple(map(torch.where, [self._alive.unsqueeze(-1)] * len(memory), self.memory, memory))
        self.hidden = tuple(map(self._of_alive, self.hidden, hidden))
        self.weights = torch.where(self._alive.unsqueeze(-1), self.weights, self._start)
        self._alive, self._gradient = torch.ones_like(self._alive), None

    def _no_memory(self, weights: Tensor) -> tuple[Memory, Hidden]:
        """The features' memory and hidden of networks that start at `weights` [tasks, P]."""
        seed = derive(self.seed, "hidden", self.step)
        return self.core.features.init(weights), self.core.begin(self._lengths, seed)

    def _of_alive(self, part: Tensor, start: Tensor) -> Tensor:
        """A part of hidden where networks are alive, else its start; lengths, the only integers, stay."""
        if not part.is_floating_point():
            return part
        rows = self._alive.repeat_interleave(len(part) // len(self._alive))
        return torch.where(rows.unsqueeze(-1), part, start)

    def _losses(self, step: int) -> tuple[Tensor, Tensor]:
        """Losses [tasks] of the current weights on the batches of `step`, and gradients [tasks, P]; first order, they
        have no graph."""
        if self._batches[0] != step:  # with judged_on "same", a batch is needed twice in a row
            self._batches = step, [problem.batch(step) for problem in self.problems]
        pairs = [
            loss_and_gradient(problem, weights, batch, graph=self.second_order)
            for problem, weights, batch in zip(self.problems, self.weights, self._batches[1], strict=True)
        ]
        losses, gradients = zip(*pairs, strict=True)
        return torch.stack(losses), torch.stack(gradients)

    def _detach(self) -> None:
        if self.step == 0:  # memory may begin with what is learned, and PES has moved that since
            self.memory, self.hidden = self._no_memory(self.weights)
            return
        self.weights = self.weights.detach()
        self.memory = tuple(part.detach() for part in self.memory)
        self.hidden = tuple(part.detach() for part in self.hidden)
        self._gradient = None if self._gradient is None else self._gradient.detach()
