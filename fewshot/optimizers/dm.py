"""DMOptimizer: two LSTM layers over the logarithm and sign of each weight's gradient.

Marcin Andrychowicz et al., "Learning to learn by gradient descent by gradient descent", NeurIPS 2016.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.optimizers.coordinatewise import OMITTED_DEFAULT, check_hidden_size, check_output_scale
from fewshot.optimizers.core import Hidden
from fewshot.optimizers.fast.native import NativeStep
from fewshot.optimizers.observe import LogSign
from fewshot.optimizers.recurrent import TwoLayers
from fewshot.optimizers.stability import StabilityOptions

LARGEST_P = 87
"""e^p and e^-p are ordinary float32 numbers up to here."""


@dataclass(frozen=True)
class DMOptions(StabilityOptions):
    """Options of DMOptimizer; the defaults are the paper's appendix, p = 10 with output 0.1, which later
    re-implementations follow. The authors' released code has p = 5 with output 0.01."""

    hidden_size: int = 20
    """Units of each of the two LSTM layers."""
    p: float = 10.0
    """Range of the logarithm: gradients below e^-p enter linearly."""
    output_scale: float = 0.1
    """The output is multiplied by this."""
    scale_free: bool = field(default=False, metadata=OMITTED_DEFAULT)
    """Gradients enter divided by their root mean square over the network: the same for any multiple of a loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_hidden_size(self.hidden_size)
        check_output_scale(self.output_scale)
        if not 0 < self.p <= LARGEST_P:
            raise InputError(f"p is {self.p}; it must be positive and at most {LARGEST_P}")


class DM(TwoLayers):
    """u = scale · (v · LSTM(LSTM(x)) + b), x the two features of the gradient.

    5 141 weights: each LSTM layer has one bias vector, as in the authors' code; with torch's two it would be 5 301.
    """

    Options = DMOptions
    columns = {"features": slice(0, 2)}  # noqa: RUF012

    def __init__(self, generator: torch.Generator, options: DMOptions | None = None) -> None:
        super().__init__(generator, options, inputs=2)
        self.features = LogSign(self.options.p, self.options.scale_free)
        self.state_size = self.features.size

    def equation(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        output, hidden = self.layers(state, hidden)
        return self.options.output_scale * output, hidden

    def native_step(self) -> NativeStep | None:
        return self.native_layers() if type(self) is DM else None

    def finish(self, output: Tensor) -> Tensor:
        return self.options.output_scale * output
