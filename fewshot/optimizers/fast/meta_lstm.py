"""Meta-LSTM's step as one node of the graph, and its response to its gradient column."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fewshot.optimizers.core import Response
from fewshot.optimizers.fast.gates import activate_, pull_back


class CellWeights(NamedTuple):
    """The parameters of a `fewshot.optimizers.meta_lstm.MetaLSTM`, H units over F features."""

    lstm_input: Tensor
    """[F, 4 H]"""
    lstm_hidden: Tensor
    """[H, 4 H]"""
    lstm_bias: Tensor
    """[4 H]"""
    gates_hidden: Tensor
    """[H, 2]"""
    gates_weight: Tensor
    """[2]"""
    gates_previous: Tensor
    """[2]"""
    gates_bias: Tensor
    """[2]"""


def cell(
    state: Tensor, h: Tensor, c: Tensor, previous: Tensor, weights: CellWeights
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A step of Meta-LSTM. Differentiable once.

    For the backward pass it keeps 5 H + 2 numbers a row beside what it was given and what it gives, 7 H + 5 a step of
    an unroll with its state: 145 for 20 units, where autograd keeps 423 of the equation.

    Args:
        state: F features, the gradient and the weight of every row, [F + 2, rows].
        h: [H, rows].
        c: [H, rows].
        previous: pre-activations of both gates at the step before, [2, rows].
        weights: the parameters.

    Returns:
        Updates [1, rows], and the next h, c, and pre-activations.
    """
    return _Cell.apply(state, h, c, previous, *weights)


class _Cell(Function):
    @staticmethod
    def forward(
        ctx, state: Tensor, h: Tensor, c: Tensor, previous: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weights = CellWeights(*parameters)
        features, gradient, weight = state[:-2], state[-2], state[-1]
        activated = torch.addmm(weights.lstm_bias[:, None], weights.lstm_hidden.T, h)
        activated.addmm_(weights.lstm_input.T, features)
        next_h, next_c, squashed = activate_(activated, c)
        pre = torch.addmm(weights.gates_bias[:, None], weights.gates_hidden.T, next_h)
        pre.addcmul_(weights.gates_weight[:, None], weight).addcmul_(weights.gates_previous[:, None], previous)
        opened = pre.sigmoid()
        forget, learn = opened
        update = (forget - 1).mul_(weight).addcmul_(learn, gradient, value=-1)
        ctx.save_for_backward(state, h, c, previous, activated, squashed, next_h, opened, *parameters)
        ctx.set_materialize_grads(False)
        return update[None], next_h, next_c, pre

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, grad_update: Tensor | None, grad_h: Tensor | None, grad_c: Tensor | None, grad_pre: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        state, h, c, previous, activated, squashed, next_h, opened, *parameters = ctx.saved_tensors
        weights, needs = CellWeights(*parameters), ctx.needs_input_grad
        grads: dict[str, Tensor | None] = {}
        grad_state = torch.zeros_like(state) if needs[0] else None
        grad_previous = None
        if grad_update is not None:  # through the gates: grad_pre becomes that of their pre-activations
            signed = torch.cat([state[-1:], state[-2:-1].neg()]).mul_(grad_update)
            through = torch.ops.aten.sigmoid_backward(signed, opened)
            grad_pre = through if grad_pre is None else through.add_(grad_pre)
            if grad_state is not None:
                forget, learn = opened
                torch.mul(grad_update[0], learn, out=grad_state[-2]).neg_()
                torch.mul(grad_update[0], forget - 1, out=grad_state[-1])
        if grad_pre is not None:
            through_h = weights.gates_hidden @ grad_pre
            grad_h = through_h if grad_h is None else through_h.add_(grad_h)
            grads = {
                "gates_hidden": next_h @ grad_pre.T,
                "gates_weight": grad_pre @ state[-1],
                "gates_previous": torch.linalg.vecdot(grad_pre, previous),
                "gates_bias": grad_pre.sum(dim=1),
            }
            if grad_state is not None:
                grad_state[-1].addmv_(grad_pre.T, weights.gates_weight)
            if needs[3]:
                grad_previous = weights.gates_previous[:, None] * grad_pre
        grad_before, grad_cell = None, None
        if grad_h is not None or grad_c is not None:
            grad_lstm, grad = pull_back(activated, c, squashed, grad_h, grad_c)
            grads |= {
                "lstm_input": state[:-2] @ grad_lstm.T,
                "lstm_hidden": h @ grad_lstm.T,
                "lstm_bias": grad_lstm.sum(dim=1),
            }
            if grad_state is not None:
                torch.mm(weights.lstm_input, grad_lstm, out=grad_state[:-2])
            grad_before = weights.lstm_hidden @ grad_lstm if needs[1] else None
            grad_cell = grad * activated[len(c) : 2 * len(c)] if needs[2] else None
        return grad_state, grad_before, grad_cell, grad_previous, *(grads.get(name) for name in CellWeights._fields)


class AffineInGradient(Response):
    """u(g') = u(g) - σ(i) (g' - g), with its derivative: the gates do not see g."""

    def __init__(self, update: Tensor, gradient: Tensor, learn: Tensor) -> None:
        """Of a step that has been taken.

        Args:
            update: u(g), [rows, 1].
            gradient: g, [rows, 1].
            learn: σ(i), [rows].
        """
        self._learn = learn[:, None]
        self._offset = update + self._learn * gradient

    def __call__(self, values: Tensor) -> Tensor:
        return self._offset - self._learn * values

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return self(values).detach(), lambda cotangent: -self._learn.detach() * cotangent
