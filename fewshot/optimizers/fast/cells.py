"""Recurrent cells written for many rows and few units, with derivatives by hand.

Everything here is [units, rows]: a row's numbers lie far apart and a unit's side by side, so that what differs from
unit to unit is a scalar in the innermost loop. `nn.RNN` and `nn.LSTM` do the same sums, but cannot hand out their
recurrent part, which all evaluations at one step share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fewshot.nets.functional import uniform_fan_in


def tanh(x: Tensor) -> Tensor:
    """2σ(2x) - 1: torch's sigmoid on the CPU takes a sixth of the time of its tanh. Differentiable once."""
    return _Tanh.apply(x)


def sigmoid_to_tanh_(s: Tensor, out: Tensor | None = None) -> Tensor:
    """From s = σ(2x) to tanh(x), in place unless told where to."""
    return torch.add(-torch.ones((), dtype=s.dtype, device="cpu"), s, alpha=2, out=s if out is None else out)


def add_product(known: Tensor, weight: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """known + weight @ x for known [units, rows], weight [units, F], x [F, rows]; in one pass where F is 1."""
    if x.shape[0] == 1:
        return torch.addcmul(known, weight, x, out=out)
    return torch.addmm(known, weight, x, out=out)


class _Tanh(Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = sigmoid_to_tanh_((2 * x).sigmoid_())
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, gradient: Tensor
    ) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.tanh_backward(gradient, y)


class LSTMCell(nn.Module):
    """An LSTM cell with one bias vector and gates in torch's order: input, forget, candidate, output.

    Initially the weights are uniform in ±1/√H as in `nn.LSTMCell`, and the biases zero but for the forget gate's, which
    are one, as in the published optimizers (Sonnet and TensorFlow add that one outside).
    """

    def __init__(self, inputs: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.size = size
        self.input = nn.Parameter(uniform_fan_in((4 * size, inputs), size, generator))
        self.recurrent = nn.Parameter(uniform_fan_in((4 * size, size), size, generator))
        self.bias = nn.Parameter(torch.cat([torch.zeros(size), torch.ones(size), torch.zeros(2 * size)]))

    def known(self, h: Tensor) -> Tensor:
        """What the gates get from the previous output h [H, rows]: [4 H, rows]."""
        return torch.addmm(self.bias[:, None], self.recurrent, h)

    def forward(self, x: Tensor, c: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """From the input x [inputs, rows], the previous cell state c [H, rows] and `known` to the next h and c."""
        return _Gates.apply(torch.addmm(known, self.input, x), c)

    def advance_(self, x: Tensor, h: Tensor, c: Tensor) -> None:
        """`known` and `forward` in place and without a graph: h and c [H, rows] are the next ones afterwards."""
        gates = self.known(h)
        torch.addmm(gates, self.input, x, out=gates)
        take, keep, candidate, show = _squash_(gates, self.size).split(self.size)
        torch.addcmul(take.mul_(candidate), keep, c, out=c)
        squashed = sigmoid_to_tanh_(torch.mul(c, 2, out=candidate).sigmoid_())
        torch.mul(show, squashed, out=h)


def _squash_(gates: Tensor, size: int) -> Tensor:
    """In place, pre-activations [4 H, rows] to gates: tanh for the candidate, σ for the others."""
    candidate = gates[2 * size : 3 * size]
    candidate.mul_(2)
    gates.sigmoid_()
    sigmoid_to_tanh_(candidate)
    return gates


class _Gates(Function):
    """From pre-activations [4 H, rows] and cell state [H, rows] to the next output and cell state."""

    @staticmethod
    def forward(ctx, pre: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        size = len(c)
        gates = _squash_(pre.clone(memory_format=torch.contiguous_format), size)
        take, keep, candidate, show = gates.split(size)
        next_c = torch.addcmul(take * candidate, keep, c)
        squashed = sigmoid_to_tanh_((2 * next_c).sigmoid_())
        ctx.save_for_backward(gates, c, squashed)
        ctx.set_materialize_grads(False)
        return show * squashed, next_c

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, grad_h: Tensor | None, grad_c: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        gates, c, squashed = ctx.saved_tensors
        take, keep, candidate, show = gates.split(len(c))
        if grad_h is None and grad_c is None:
            return None, None
        aten, grad_gates = torch.ops.aten, torch.empty_like(gates)
        d_take, d_keep, d_candidate, d_show = grad_gates.split(len(c))
        if grad_h is None:
            d_show.zero_()
            grad = grad_c
        else:
            aten.sigmoid_backward(grad_h * squashed, show, grad_input=d_show)
            grad = aten.tanh_backward(grad_h * show, squashed)
            grad = grad if grad_c is None else grad.add_(grad_c)
        aten.sigmoid_backward(grad * candidate, take, grad_input=d_take)
        aten.sigmoid_backward(grad * c, keep, grad_input=d_keep)
        aten.tanh_backward(grad * take, candidate, grad_input=d_candidate)
        return grad_gates, grad * keep if ctx.needs_input_grad[1] else None
