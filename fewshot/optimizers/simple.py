"""SimpleOptimizer: one small recurrent layer without biases over each weight's normalized gradient.

Patrick H. Chen et al., "Learning to Learn with Better Convergence", 2020, as Xiong & Hsieh's published code has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewshot.errors import InputError
from fewshot.nets.functional import uniform_fan_in
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.core import Hidden
from fewshot.optimizers.observe import GradientRMS


@dataclass(frozen=True)
class SimpleOptions:
    """Options of SimpleOptimizer; the defaults are the published code's: 440 weights."""

    hidden_size: int = 20
    """Units of the recurrent layer."""
    output_scale: float = 0.1
    """The output layer's initial weights are multiplied by this."""

    def __post_init__(self) -> None:
        if self.hidden_size < 1:
            raise InputError(f"hidden_size is {self.hidden_size}; it must be at least 1")


class Simple(CoordinatewiseOptimizer):
    """u = V tanh(W x + U h), no biases."""

    Options = SimpleOptions
    columns = {"features": slice(0, 1)}  # noqa: RUF012
    smooth_columns = "features"

    def __init__(self, generator: torch.Generator, options: SimpleOptions | None = None) -> None:
        super().__init__(generator, options)
        size = self.options.hidden_size
        self.features, self.state_size = GradientRMS(), 1
        self.input = nn.Parameter(uniform_fan_in((size, self.state_size), size, generator))
        self.recurrent = nn.Parameter(uniform_fan_in((size, size), size, generator))
        self.output = nn.Parameter(self.options.output_scale * uniform_fan_in((1, size), size, generator))

    def init_hidden(self, rows: int) -> Hidden:
        """(h [rows, H],), zero."""
        return (self.input.new_zeros(rows, self.options.hidden_size),)

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        h = torch.tanh(torch.addmm(state @ self.input.T, hidden[0], self.recurrent.T))
        return h @ self.output.T, (h,)
