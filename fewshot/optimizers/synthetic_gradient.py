"""Synthetic gradients: a network that guesses, from the class scores of unlabelled queries, the gradient of their loss.

Shell Xu Hu et al., "Empirical Bayes Transductive Meta-Learning with Synthetic Gradients", ICLR 2020, section 4.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.nets.functional import uniform_fan_in
from fewshot.optimizers.core import Hidden, NeuralOptimizer, Response, Step
from fewshot.optimizers.fast.synthetic_gradient import NORM_EPS, ScoresResponse, unit_rows


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
        self._folded: list[tuple[Tensor, Tensor]] | None = None

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        rows = state.shape[-2]
        *layers, (weight, bias) = self.folded()
        x = unit_rows(state)
        for layer_weight, layer_bias in layers:
            active = torch.addmm(layer_bias[:, None], layer_weight, x).relu()
            x = F.layer_norm(active.view(-1, rows), (rows,), eps=NORM_EPS).view_as(active)
        return torch.addmm(bias[:, None], weight, x).T.view_as(state), hidden

    def equation(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        def layer(x: Tensor, part: _HiddenLayer) -> Tensor:
            x = (x @ part.weight.T + part.bias).relu()
            x = x - x.mean(dim=-2, keepdim=True)
            return part.gain * x / (x.square().mean(dim=-2, keepdim=True) + NORM_EPS).sqrt() + part.offset

        return layer(layer(state, self.first), self.second) @ self.weight.T + self.bias, hidden

    @contextlib.contextmanager
    def unroll(self) -> Iterator[None]:
        with super().unroll():
            self._folded = self.folded()
            try:
                yield
            finally:
                self._folded = None

    def folded(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of the three linear layers, each with the gain and offset of the batch norm before it."""
        if self._folded is not None:
            return self._folded
        gain, offset = self.first.gain, self.first.offset
        second = self.second.weight * gain, torch.addmv(self.second.bias, self.second.weight, offset)
        gain, offset = self.second.gain, self.second.offset
        third = self.weight * gain, torch.addmv(self.bias, self.weight, offset)
        return [(self.first.weight, self.first.bias), second, third]

    def response(self, step: Step, columns: slice) -> Response:
        if columns != slice(0, self.state_size):
            return super().response(step, columns)
        return ScoresResponse(lambda scores: self(scores, ())[0], self.folded())


class _HiddenLayer(nn.Module):
    """Parameters of linear - ReLU - batch norm."""

    def __init__(self, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform_fan_in((fan_out, fan_in), fan_in, generator))
        self.bias = nn.Parameter(uniform_fan_in((fan_out,), fan_in, generator))
        self.gain = nn.Parameter(torch.ones(fan_out))
        self.offset = nn.Parameter(torch.zeros(fan_out))
