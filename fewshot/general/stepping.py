"""Training one network with any optimizer, learned or hand-designed, without a graph through the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from fewshot.general.tasks import Problem
from fewshot.optimizers.blocks import advance, hidden_rows
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer


class Stepper(Protocol):
    """An optimizer at work on one network."""

    def step(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """Weights and gradient [P] -> the next weights [P]."""
        ...


StepperFactory = Callable[[Tensor], Stepper]
"""From initial weights [P] to a fresh stepper."""


class LearnedStepper:
    """A core, its features' memory and its hidden state."""

    def __init__(self, core: CoordinatewiseOptimizer, weights: Tensor) -> None:
        self.core = core
        self.memory = core.features.init(weights)
        self.hidden = hidden_rows(core, len(weights))

    @torch.no_grad()
    def step(self, weights: Tensor, gradient: Tensor) -> Tensor:
        state, self.memory = self.core.features(gradient, weights, self.memory)
        with self.core.unroll():
            return weights + advance(self.core, state, self.hidden)


class TorchStepper:
    """An optimizer of torch.optim on one flat parameter."""

    def __init__(self, optimizer: Callable[[list[Tensor]], torch.optim.Optimizer], weights: Tensor) -> None:
        self.parameter = weights.detach().clone().requires_grad_()
        self.optimizer = optimizer([self.parameter])

    def step(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """`weights` must be what the last step returned."""
        self.parameter.grad = gradient
        self.optimizer.step()
        return self.parameter.detach()


def loss_and_gradient(problem: Problem, weights: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
    """Loss of detached weights on a batch, and its gradient [P]; neither has a graph."""
    with torch.enable_grad():
        leaf = weights.detach().requires_grad_()
        loss = problem.loss(leaf, batch)
        (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), gradient
