"""What an LSTM cell does after its matrix products, as one node of the graph with its derivative by hand.

Autograd would keep a dozen intermediate tensors of [H, rows] for every step of an unroll, and walk over each of them
again; this keeps six, and writes the four gates' gradients into one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fewshot.optimizers.fast.elementwise import sigmoid_to_tanh_


def gates(pre: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The next h and c, each [H, rows], from pre-activations [4 H, rows] and c [H, rows]. Differentiable once.

    c' = σ(f) c + σ(i) tanh(g) and h' = σ(o) tanh(c'), the rows of `pre` being i, f, g, o.
    """
    return _Gates.apply(pre, c)


class _Gates(Function):
    @staticmethod
    def forward(ctx, pre: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        size = len(c)
        activated = pre.clone(memory_format=torch.contiguous_format)
        candidate = activated[2 * size : 3 * size]
        candidate.mul_(2)  # so that one sigmoid over all rows serves the tanh too
        activated.sigmoid_()
        sigmoid_to_tanh_(candidate)
        take, keep, candidate, show = activated.split(size)
        next_c = torch.addcmul(take * candidate, keep, c)
        squashed = sigmoid_to_tanh_((2 * next_c).sigmoid_())
        ctx.save_for_backward(activated, c, squashed)
        ctx.set_materialize_grads(False)  # the last step's c, or a step whose h nobody used, gets None and not zeros
        return show * squashed, next_c

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, grad_h: Tensor | None, grad_c: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        activated, c, squashed = ctx.saved_tensors
        take, keep, candidate, show = activated.split(len(c))
        if grad_h is None and grad_c is None:
            return None, None
        aten, grad_pre = torch.ops.aten, torch.empty_like(activated)
        d_take, d_keep, d_candidate, d_show = grad_pre.split(len(c))  # views: filled in place below
        if grad_h is None:
            d_show.zero_()
            grad = grad_c
        else:  # grad becomes that of c': its own, and what comes through h' = σ(o) tanh(c')
            aten.sigmoid_backward(grad_h * squashed, show, grad_input=d_show)
            grad = aten.tanh_backward(grad_h * show, squashed)
            grad = grad if grad_c is None else grad.add_(grad_c)
        aten.sigmoid_backward(grad * candidate, take, grad_input=d_take)
        aten.sigmoid_backward(grad * c, keep, grad_input=d_keep)
        aten.tanh_backward(grad * take, candidate, grad_input=d_candidate)
        return grad_pre, grad * keep if ctx.needs_input_grad[1] else None
