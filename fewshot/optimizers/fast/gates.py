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


def activate_(pre: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The step that `gates` is, without a graph and in place: `pre` holds σ(i), σ(f), tanh(g), σ(o) afterwards.

    Returns:
        The next h and c, and tanh of that c, each [H, rows].
    """
    candidate = pre[2 * len(c) : 3 * len(c)]
    candidate.mul_(2)  # so that one sigmoid over all rows serves the tanh too
    pre.sigmoid_()
    sigmoid_to_tanh_(candidate)
    take, keep, candidate, show = pre.split(len(c))
    next_c = torch.addcmul(take * candidate, keep, c)
    squashed = sigmoid_to_tanh_((2 * next_c).sigmoid_())
    return show * squashed, next_c, squashed


def pull_back(
    activated: Tensor, c: Tensor, squashed: Tensor, grad_h: Tensor | None, grad_c: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The derivative of `activate_`.

    Args:
        activated: what it left in `pre`, [4 H, rows].
        c: what it was given, [H, rows].
        squashed: what it returned last, [H, rows].
        grad_h: gradient of the next h, [H, rows]; None: zero. Not both of them are.
        grad_c: of the next c, likewise.

    Returns:
        Gradients of pre-activations [4 H, rows], and of the next c by either way [H, rows]: times σ(f), that of c.
    """
    take, keep, candidate, show = activated.split(len(c))
    aten, grad_pre = torch.ops.aten, torch.empty_like(activated)
    d_take, d_keep, d_candidate, d_show = grad_pre.split(len(c))  # views: filled in place below
    if grad_h is None:
        assert grad_c is not None
        d_show.zero_()
        grad = grad_c
    else:  # grad becomes that of c': its own, and what comes through h' = σ(o) tanh(c')
        aten.sigmoid_backward(grad_h * squashed, show, grad_input=d_show)
        grad = aten.tanh_backward(grad_h * show, squashed)
        grad = grad if grad_c is None else grad.add_(grad_c)
    aten.sigmoid_backward(grad * candidate, take, grad_input=d_take)
    aten.sigmoid_backward(grad * c, keep, grad_input=d_keep)
    aten.tanh_backward(grad * take, candidate, grad_input=d_candidate)
    return grad_pre, grad


class _Gates(Function):
    @staticmethod
    def forward(ctx, pre: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        activated = pre.clone(memory_format=torch.contiguous_format)
        h, next_c, squashed = activate_(activated, c)
        ctx.save_for_backward(activated, c, squashed)
        ctx.set_materialize_grads(False)  # the last step's c, or a step whose h nobody used, gets None and not zeros
        return h, next_c

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx, grad_h: Tensor | None, grad_c: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        activated, c, squashed = ctx.saved_tensors
        if grad_h is None and grad_c is None:
            return None, None
        grad_pre, grad = pull_back(activated, c, squashed, grad_h, grad_c)
        return grad_pre, grad * activated[len(c) : 2 * len(c)] if ctx.needs_input_grad[1] else None
