"""Training one network with any optimizer, learned or hand-designed, without a graph through the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from schedulefree import AdamWScheduleFree
from torch import Tensor

from fewshot.general.tasks import Problem
from fewshot.optimizers.blocks import advance, hidden_rows, lengths
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer

AVERAGING = (AdamWScheduleFree,)
"""Optimizers of which an average counts; `eval` and `train` switch between it and the weights that are trained."""


class Stepper(Protocol):
    """An optimizer at work on one network, or on several of one size that do not see each other."""

    def step(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """Weights and gradient [..., P] -> the next weights, at which it wants the next gradient."""
        ...

    def scored(self, weights: Tensor) -> Tensor:
        """The weights [..., P] that it stands for there, such as an average; mostly `weights`."""
        ...


StepperFactory = Callable[[Tensor], Stepper]
"""From initial weights [..., P] to a fresh stepper."""


class LearnedStepper:
    """A core, its features' memory and its hidden state."""

    def __init__(self, core: CoordinatewiseOptimizer, weights: Tensor, sizes: Sequence[int] | None = None) -> None:
        """Start a core.

        Args:
            core: any.
            weights: [..., P].
            sizes: of the tensors that a network's weights are; None: P, one tensor.
        """
        self.core = core
        self.memory = core.features.init(weights)
        self.hidden = hidden_rows(core, lengths(weights, sizes))

    @torch.no_grad()
    def step(self, weights: Tensor, gradient: Tensor) -> Tensor:
        hidden = tuple(part.T for part in self.hidden)
        with self.core.unroll():
            state, self.memory = self.core.observe(gradient, weights, self.memory, hidden)
            return weights + advance(self.core, state, self.hidden)

    def scored(self, weights: Tensor) -> Tensor:
        return weights


class TorchStepper:
    """An optimizer of torch.optim: on one flat parameter, or on equal parts of the networks in groups of their own."""

    def __init__(
        self,
        optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        weights: Tensor,
        rates: Sequence[float],
        schedule: Callable[[int], float] | None = None,
    ) -> None:
        """Start an optimizer.

        Args:
            optimizer: from parameter groups.
            weights: [P] or [N, P].
            rates: one, or one for each of so many equal parts of the first axis; parts of one network are [P].
            schedule: what rates are multiplied by, from the number of steps taken; None: they stay.
        """
        self._weights, self._rates, self._schedule = weights.detach().clone(), rates, schedule
        self._parts = [part.requires_grad_() for part in self._cut(self._weights)]
        groups = zip(self._parts, rates, strict=True)
        self.optimizer = optimizer([{"params": [part], "lr": rate} for part, rate in groups])
        self._steps = 0
        if isinstance(self.optimizer, AVERAGING):
            self.optimizer.train()

    def step(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """`weights` must be what the last step returned; they move in place."""
        for part, its in zip(self._parts, self._cut(gradient), strict=True):
            part.grad = its.clone() if isinstance(self.optimizer, AVERAGING) else its  # that one changes it
        if self._schedule is not None:
            share = self._schedule(self._steps)
            for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = share * rate
        self.optimizer.step()
        self._steps += 1
        return self._weights

    def scored(self, weights: Tensor) -> Tensor:
        if not isinstance(self.optimizer, AVERAGING):
            return weights
        here = weights.clone()
        self.optimizer.eval()  # moves the parameters to the average
        average = weights.clone()
        self.optimizer.train()
        weights.copy_(here)  # exactly, not up to rounding
        return average

    def _cut(self, tensor: Tensor) -> list[Tensor]:
        tensor, count = tensor.detach(), len(self._rates)
        if tensor.ndim == 1:
            return [tensor]
        return list(tensor.unbind() if count == len(tensor) else tensor.chunk(count))


def loss_and_gradient(problem: Problem, weights: Tensor, batch: Any, graph: bool = False) -> tuple[Tensor, Tensor]:
    """Loss of weights [P] on a batch, and its gradient [P]; neither has a graph, or both that of the weights."""
    with torch.enable_grad():
        point = weights if graph and weights.requires_grad else weights.detach().requires_grad_()
        loss = problem.loss(point, batch)
        (gradient,) = torch.autograd.grad(loss, point, create_graph=graph)
    return (loss, gradient) if graph else (loss.detach(), gradient)
