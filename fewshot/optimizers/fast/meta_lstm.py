"""Meta-LSTM's step as one node of the graph, and its response to its gradient column."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fewshot.optimizers.core import Response
from fewshot.optimizers.fast.gates import activate_, pull_back

BLOCK = 8192
"""Rows at a time: of more, products with so few units take twice as long; of fewer, what is called takes it."""


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

    @classmethod
    def of(cls, core: nn.Module) -> CellWeights:
        """Those of a core, after any reparametrization."""
        return cls(*(getattr(core, name) for name in cls._fields))

    def of_lstm(self) -> Tensor:
        """Those of the LSTM as one matrix, [F + H + 1, 4 H]."""
        return torch.cat([self.lstm_input, self.lstm_hidden, self.lstm_bias[None]])

    def with_lstm(self, matrix: Tensor) -> CellWeights:
        """The same, those of the LSTM from a matrix as `of_lstm` makes it."""
        lstm_input, lstm_hidden, lstm_bias = matrix.split([len(self.lstm_input), len(self.lstm_hidden), 1])
        return self._replace(lstm_input=lstm_input, lstm_hidden=lstm_hidden, lstm_bias=lstm_bias[0])


def cell(
    state: Tensor, h: Tensor, c: Tensor, previous: Tensor, weights: CellWeights
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A step of Meta-LSTM. Differentiable once.

    A step of an unroll keeps 7 H + F + 6 numbers a row for the backward pass, the state among them: 150 for 20 units,
    or 20 MB a step for 32 901 weights, one number less than autograd keeps of the equation.

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
        lstm = weights.of_lstm().T
        given, kept = [], []
        for part in _blocks(state):
            x, (weight, gradient) = _entering(state, h, part), (state[-1, part], state[-2, part])
            activated = lstm @ x
            next_h, next_c, squashed = activate_(activated, c[:, part])
            pre = torch.addmm(weights.gates_bias[:, None], weights.gates_hidden.T, next_h)
            pre.addcmul_(weights.gates_weight[:, None], weight)
            pre.addcmul_(weights.gates_previous[:, None], previous[:, part])
            opened = pre.sigmoid()
            update = (opened[:1] - 1).mul_(weight).addcmul_(opened[1:], gradient, value=-1)
            given.append((update, next_h, next_c, pre))
            kept += [activated, squashed, opened]
        update, next_h, next_c, pre = (_joined(blocks) for blocks in zip(*given, strict=True))
        ctx.save_for_backward(state, h, c, previous, next_h, *parameters, *kept)
        return update, next_h, next_c, pre

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        state, h, c, previous, next_h, *rest = ctx.saved_tensors
        weights, kept = CellWeights(*rest[: len(CellWeights._fields)]), rest[len(CellWeights._fields) :]
        lstm, features, opening = weights.of_lstm(), len(weights.lstm_input), weights.gates_weight[:, None]
        grads, grad_lstm, given = CellWeights(*map(torch.zeros_like, weights)), torch.zeros_like(lstm), []
        for number, part in enumerate(_blocks(state)):
            activated, squashed, opened = kept[3 * number : 3 * number + 3]
            grad_update, grad_h, grad_c, grad_pre = (gradient[:, part] for gradient in gradients)
            gradient, weight = state[-2:-1, part], state[-1:, part]
            # of the gates: as they stand in the update, and as they are remembered
            grad_gates = torch.cat([weight * grad_update, gradient * -grad_update])
            grad_gates = torch.ops.aten.sigmoid_backward(grad_gates, opened).add_(grad_pre)
            grads.gates_hidden.addmm_(next_h[:, part], grad_gates.T)
            grads.gates_weight.addmv_(grad_gates, weight[0])
            grads.gates_previous.add_(torch.linalg.vecdot(grad_gates, previous[:, part]))
            grads.gates_bias.add_(grad_gates.sum(dim=1))
            grad_h = torch.addmm(grad_h, weights.gates_hidden, grad_gates)
            grad, grad_next = pull_back(activated, c[:, part], squashed, grad_h, grad_c)
            grad_lstm.addmm_(_entering(state, h, part), grad.T)
            grad_entering = lstm[:-1] @ grad
            grad_weight = ((opened[:1] - 1) * grad_update).addmm_(opening.T, grad_gates)
            grad_state = torch.cat([grad_entering[:features], -opened[1:] * grad_update, grad_weight])
            grad_cell = grad_next.mul_(activated[len(c) : 2 * len(c)])
            given.append(
                (grad_state, grad_entering[features:], grad_cell, weights.gates_previous[:, None] * grad_gates)
            )
        return *(_joined(blocks) for blocks in zip(*given, strict=True)), *grads.with_lstm(grad_lstm)


def _blocks(state: Tensor) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, state.shape[1], BLOCK)]


def _joined(blocks: tuple[Tensor, ...]) -> Tensor:
    first, *others = blocks
    return torch.cat(blocks, dim=1) if others else first


def _entering(state: Tensor, h: Tensor, part: slice) -> Tensor:
    """What the LSTM multiplies with `CellWeights.of_lstm`, of some rows: features, h, and ones for the bias."""
    return torch.cat([state[:-2, part], h[:, part], torch.ones_like(h[:1, part])])


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
