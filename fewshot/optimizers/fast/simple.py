"""SimpleOptimizer's step and response: one recurrent layer, of one or a few columns, without biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fewshot.optimizers.core import Step, squared_distance
from fewshot.optimizers.fast.elementwise import add_product, sigmoid_to_tanh_
from fewshot.optimizers.fast.recurrent import Recurrent, RecurrentResponse


class SimpleCore(Recurrent, Protocol):
    """What is needed of a `fewshot.optimizers.simple.Simple`."""

    state_size: int

    @property
    def input(self) -> Tensor: ...

    @property
    def read_out(self) -> Tensor: ...


def read(known: Tensor, x: Tensor, weight: Tensor, output: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """V h and h, for h = tanh(W x + U h') given twice the recurrent part. Differentiable once.

    One node of the graph that keeps h alone, and no pass over the rows that is not needed: tanh(z) is 2σ(2z) - 1 (see
    `tanh` for its precision), and the 2 is in `known` and in the weights, not in a pass of its own.

    Args:
        known: 2 U h', [H, rows].
        x: [F, rows].
        weight: W, [H, F].
        output: V, [1, H].
        h: from whoever has it already, for its graph alone; None: it is computed.

    Returns:
        [1, rows] and [H, rows].
    """
    return _Read.apply(known, x, weight, output, h)


class _Read(Function):
    @staticmethod
    def forward(
        ctx, known: Tensor, x: Tensor, weight: Tensor, output: Tensor, h: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if h is None:
            h = sigmoid_to_tanh_(add_product(known, 2 * weight, x).sigmoid_())
        ctx.save_for_backward(x, weight, output, h)
        ctx.set_materialize_grads(False)
        return output @ h, h

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, grad_update: Tensor | None, grad_h: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, weight, output, h = ctx.saved_tensors
        # `grad` becomes that of `known`, which is twice U h': hence the halves here and the doubles below.
        if grad_update is None:
            if grad_h is None:
                return None, None, None, None, None
            grad = 0.5 * grad_h
        elif grad_h is None:
            grad = (0.5 * output.T) @ grad_update
        else:
            grad = torch.addmm(grad_h, output.T, grad_update, beta=0.5, alpha=0.5)
        torch.ops.aten.tanh_backward(grad, h, grad_input=grad)
        return (
            grad,
            (2 * weight.T) @ grad if ctx.needs_input_grad[1] else None,
            2 * (grad @ x.T) if ctx.needs_input_grad[2] else None,
            grad_update @ h.T if ctx.needs_input_grad[3] and grad_update is not None else None,
            None,
        )


class ClosedForm(RecurrentResponse):
    """The response of `Simple` and its derivative without a graph.

    With s = σ(2 (W x + U h)), tanh is 2 s - 1 and its derivative 4 (s - s²): u = 2 V s - V 1, ∂u/∂x = 4 V (s - s²) W.
    The factors 2 and 4 go into the weights once, so that an evaluation is a product, a sigmoid and a product.
    """

    def __init__(self, core: SimpleCore, step: Step, columns: slice) -> None:
        super().__init__(core, step, columns)
        self._input, self._output_weight = core.input, core.read_out
        with torch.no_grad():
            moving = core.input[:, columns]
            known = self._known[0]
            if columns.stop - columns.start < core.state_size:  # what the other columns give is known too
                fixed = torch.cat([step.state[:, : columns.start], step.state[:, columns.stop :]], dim=1)
                weights = torch.cat([core.input[:, : columns.start], core.input[:, columns.stop :]], dim=1)
                known = torch.addmm(known, 2 * weights, fixed.T)
            self._still, self._moving = known, 2 * moving
            output = self._output_weight
            self._output, self._offset = 2 * output, output.sum()
            self._slope = 4 * output * moving.T
        self._scratch = torch.empty_like(known)  # [H, rows]: an ascent allocates nothing of that size

    def __call__(self, values: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().__call__(values)
        return self._update(self._units(values, self._scratch))

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        with torch.no_grad():
            s = self._units(values, self._scratch)
            update = self._update(s)
            slope = (self._slope @ s.addcmul_(s, s, value=-1)).T  # s - s² in place: the update is computed already
        return update, lambda cotangent: cotangent * slope

    def farther(self, low: Tensor, high: Tensor, update: Tensor) -> Tensor:
        # Both ends are evaluated anyway to choose one of them. Its units are put on the graph as they are: a third
        # evaluation, which the general route makes, is saved.
        with torch.no_grad():
            s, s_high = self._units(low), self._units(high, self._scratch)
            choose_high = squared_distance(self._update(s_high), update) > squared_distance(self._update(s), update)
            choice = choose_high.to(s.dtype)  # lerp by 0 or 1 is where, exactly, in a quarter of its time
            h = sigmoid_to_tanh_(torch.lerp(s, s_high, choice, out=s))
            x = self._step.moved_to(torch.lerp(low, high, choice.unsqueeze(-1)), self._columns)
        return read(self._known[0], x.T, self._input, self._output_weight, h)[0].T

    def _units(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """σ of every unit, [H, rows]."""
        return add_product(self._still, self._moving, values.T, out=out).sigmoid_()

    def _update(self, s: Tensor) -> Tensor:
        return (self._output @ s).sub_(self._offset).T
