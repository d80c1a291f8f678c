"""Synthetic gradients: a network that guesses, from the class scores of unlabelled queries, the gradient of their loss.

Shell Xu Hu et al., "Empirical Bayes Transductive Meta-Learning with Synthetic Gradients", ICLR 2020, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

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
    each other. States may have leading axes, [..., rows, N]; each index of those is a group (an episode) with its own
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
        sizes = (way, width * way, width * way, way)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            self.weights.append(nn.Parameter(uniform_fan_in((fan_out, fan_in), fan_in, generator)))
            self.biases.append(nn.Parameter(uniform_fan_in((fan_out,), fan_in, generator)))
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(size)) for size in sizes[1:-1])
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes[1:-1])

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        x = state
        for weight, bias, gain, offset in self.hidden_layers():
            x = _normalize(F.linear(x, weight, bias).relu(), gain, offset)
        return F.linear(x, self.weights[-1], self.biases[-1]), hidden

    def hidden_layers(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Weight and bias of every hidden layer, gain and offset of the batch norm after it."""
        # No slices: a slice of a ParameterList wraps its tensors anew, which cuts reparametrized ones off their graph.
        return zip(self.weights, self.biases, self.gains, self.offsets, strict=False)

    def response(self, step: Step, columns: slice) -> Response:
        if columns == slice(0, self.state_size) and step.state.ndim == 2:
            return _Scores(self)
        return super().response(step, columns)


def _normalize(x: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """Batch norm of [..., rows, C] over the rows of each group."""
    if x.ndim == 2:
        return F.batch_norm(x, None, None, gain, offset, training=True, eps=NORM_EPS)
    groups = x.flatten(0, -3).transpose(1, 2)
    normal = F.instance_norm(groups, weight=gain, bias=offset, use_input_stats=True, eps=NORM_EPS)
    return normal.transpose(1, 2).reshape(x.shape)


class _Scores(Response):
    """φ of one group with its derivative, for the ascents of smoothness: a third of the time that autograd takes."""

    def __init__(self, core: SyntheticGradient) -> None:
        super().__init__(lambda scores: core(scores, ())[0])
        self._layers = [tuple(p.detach() for p in layer) for layer in core.hidden_layers()]
        self._weight, self._bias = core.weights[-1].detach(), core.biases[-1].detach()

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        x, tape = values, []
        for weight, bias, gain, offset in self._layers:
            active = F.linear(x, weight, bias).relu_()
            x, mean, inverse = torch.native_batch_norm(active, gain, offset, None, None, True, 0.0, NORM_EPS)
            tape.append((weight, gain, active, mean, inverse))

        def pull(cotangent: Tensor) -> Tensor:
            x = cotangent @ self._weight
            for weight, gain, active, mean, inverse in reversed(tape):
                x = torch.ops.aten.native_batch_norm_backward(
                    x, active, gain, None, None, mean, inverse, True, NORM_EPS, [True, False, False]
                )[0]
                x = torch.ops.aten.threshold_backward(x, active, 0) @ weight
            return x

        return F.linear(x, self._weight, self._bias), pull
