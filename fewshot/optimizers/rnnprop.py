"""RNNprop: two LSTM layers over each weight's normalized gradient and momentum, with a bounded step.

Kaifeng Lv, Shunhua Jiang, Jian Li, "Learning Gradient Descent: Better Generalization and Longer Horizons", ICML 2017.
Their random scaling and convex part belong to meta-training, not to the optimizer: `fewshot.general.variation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.errors import InputError
from fewshot.optimizers.coordinatewise import OMITTED_DEFAULT, check_hidden_size, check_output_scale
from fewshot.optimizers.core import Hidden
from fewshot.optimizers.fast.elementwise import tanh
from fewshot.optimizers.fast.native import NativeStep
from fewshot.optimizers.observe import NormalizedMoments
from fewshot.optimizers.recurrent import TwoLayers
from fewshot.optimizers.stability import StabilityOptions


@dataclass(frozen=True)
class RNNpropOptions(StabilityOptions):
    """Options of RNNprop; the defaults are the authors' code's: 6 641 weights."""

    hidden_size: int = 20
    """Units of the input layer and of each LSTM layer."""
    decay: float = 0.95
    """Of the averages of gradients and squared gradients."""
    output_scale: float = 0.1
    """The largest step."""
    scale_free: bool = field(default=False, metadata=OMITTED_DEFAULT)
    """The 1e-8 added to the root of the mean squared gradient is relative to the network's root mean square."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_hidden_size(self.hidden_size)
        if not 0 <= self.decay < 1:
            raise InputError(f"decay is {self.decay}; it must lie in [0, 1)")
        check_output_scale(self.output_scale)


class RNNprop(TwoLayers):
    """u = -scale · tanh(v · LSTM(LSTM(ELU(A x + a))) + b), x the gradient and its mean in units of its own size."""

    Options = RNNpropOptions
    columns = {"features": slice(0, 2)}  # noqa: RUF012

    def __init__(self, generator: torch.Generator, options: RNNpropOptions | None = None) -> None:
        super().__init__(generator, options, inputs=(options or RNNpropOptions()).hidden_size)
        self.features = NormalizedMoments(self.options.decay, self.options.scale_free)
        self.state_size, size = self.features.size, self.options.hidden_size
        start = nn.init.trunc_normal_(torch.empty(size, 2), std=0.1, a=-0.2, b=0.2, generator=generator)
        self.input, self.input_bias = nn.Parameter(start), nn.Parameter(torch.zeros(size))

    def equation(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        output, hidden = self.layers(F.elu(state @ self.input.T + self.input_bias), hidden)
        return -self.options.output_scale * torch.tanh(output), hidden

    def prepare(self, x: Tensor) -> Tensor:
        return F.elu(torch.addmm(self.input_bias[:, None], self.input, x))

    def native_step(self) -> NativeStep | None:
        return self.native_layers((self.input, self.input_bias)) if type(self) is RNNprop else None

    def finish(self, output: Tensor) -> Tensor:
        return -self.options.output_scale * tanh(output)
