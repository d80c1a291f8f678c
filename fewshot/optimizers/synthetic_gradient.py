"""Synthetic gradients: a network that guesses, from the class scores of unlabelled queries, the gradient of their loss.

Shell Xu Hu et al., "Empirical Bayes Transductive Meta-Learning with Synthetic Gradients", ICLR 2020, section 4.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.nets.functional import uniform_fan_in
from fewshot.optimizers.core import Hidden, NeuralOptimizer, Response, Step

NORM_EPS = 1e-5


class SyntheticGradient(NeuralOptimizer):
    """u = φ(z): from the N class scores of a query to a gradient with respect to them.

    A state row is one query. φ is linear - ReLU - batch norm, twice, then linear. Batch norm always takes the
    statistics of the rows it is given, in evaluation too, and keeps no running ones: the rows of an episode depend on
    each other. A state may be [groups, rows, N]; each group (an episode, or an inner step of one) has its own
    statistics. Perturbing one row therefore moves the update of the others in its group, and smoothness maximizes the
    *sum* over a group's rows.

    φ has one input for each class: it is tied to the number of classes, and to no order of theirs.
    """

    smooth_columns = "scores"
    independent_rows = False

    def __init__(self, generator: torch.Generator, way: int = 5, width: int = 8) -> None:
        """Draw the initial parameters as torch draws those of linear layers.

        Args:
            generator: source of every draw.
            way: N, the number of classes.
            width: hidden units, in multiples of `way` (8 in the authors' code).
        """
        super().__init__()
        self.state_size = way
        self.columns = {"scores": slice(0, way)}
        units = width * way
        self.first, self.second = _HiddenLayer(way, units, generator), _HiddenLayer(units, units, generator)
        self.weight = nn.Parameter(uniform_fan_in((way, units), units, generator))
        self.bias = nn.Parameter(uniform_fan_in((way,), units, generator))

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        x = self.second(self.first(_swap(state).contiguous()))
        return _swap(F.linear(x, self.weight, self.bias)), hidden

    def response(self, step: Step, columns: slice) -> Response:
        return _Scores(self, step) if columns == slice(0, self.state_size) else super().response(step, columns)


class _HiddenLayer(nn.Module):
    """Linear, ReLU, and batch norm over the first axis: [rows, ..., in] -> [rows, ..., out]."""

    def __init__(self, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform_fan_in((fan_out, fan_in), fan_in, generator))
        self.bias = nn.Parameter(uniform_fan_in((fan_out,), fan_in, generator))
        self.gain = nn.Parameter(torch.ones(fan_out))
        self.offset = nn.Parameter(torch.zeros(fan_out))

    def forward(self, x: Tensor) -> Tensor:
        active = F.linear(x, self.weight, self.bias).relu()
        norm = self.norm(active.shape[1:-1].numel())
        return F.batch_norm(active.flatten(1), None, None, *norm, training=True, eps=NORM_EPS).view_as(active)

    def norm(self, groups: int) -> tuple[Tensor, Tensor]:
        """Gain and offset [groups * C] of rows [rows, groups * C]: each channel of each group is normalized alone."""
        return (self.gain, self.offset) if groups == 1 else (self.gain.repeat(groups), self.offset.repeat(groups))


class _Scores(Response):
    """φ with its derivative in closed form: the ascents of smoothness take a third of the time that autograd takes."""

    def __init__(self, core: SyntheticGradient, step: Step) -> None:
        super().__init__(lambda scores: core(scores, ())[0])
        groups = step.state.shape[:-2].numel()
        with torch.no_grad():
            layers = [(layer.weight, layer.bias, *layer.norm(groups)) for layer in (core.first, core.second)]
        self._layers = [tuple(p.detach() for p in layer) for layer in layers]
        self._weight, self._bias = core.weight.detach(), core.bias.detach()

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        x, tape = _swap(values).contiguous(), []  # of strided rows, every product would be many small ones
        for weight, bias, gain, offset in self._layers:
            active = F.linear(x, weight, bias).relu_()
            flat = active.flatten(1)
            normal, mean, inverse = torch.native_batch_norm(flat, gain, offset, None, None, True, 0.0, NORM_EPS)
            tape.append((weight, flat, gain, mean, inverse))
            x = normal.view_as(active)

        def pull(cotangent: Tensor) -> Tensor:
            x = _swap(cotangent).contiguous() @ self._weight
            for weight, flat, gain, mean, inverse in reversed(tape):
                normal = torch.ops.aten.native_batch_norm_backward(
                    x.flatten(1), flat, gain, None, None, mean, inverse, True, NORM_EPS, [True, False, False]
                )[0]
                x = torch.ops.aten.threshold_backward(normal, flat, 0).view_as(x) @ weight
            return _swap(x)

        return _swap(F.linear(x, self._weight, self._bias)), pull


def _swap(x: Tensor) -> Tensor:
    """[groups, rows, F] as [rows, groups, F] and back; [rows, F] as it is."""
    return x if x.ndim == 2 else x.transpose(0, 1)
