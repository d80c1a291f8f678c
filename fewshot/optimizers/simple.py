"""SimpleOptimizer: one small recurrent layer without biases over each weight's normalized gradient.

Patrick H. Chen et al., "Learning to Learn with Better Convergence", 2020, as Xiong & Hsieh's published code has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from fewshot.errors import InputError, one_of
from fewshot.nets.functional import uniform_fan_in
from fewshot.optimizers.coordinatewise import OMITTED_DEFAULT, check_hidden_size, check_output_scale
from fewshot.optimizers.core import Hidden, Response, Step
from fewshot.optimizers.fast import native
from fewshot.optimizers.fast.in_place import simple_
from fewshot.optimizers.fast.simple import ClosedForm, read
from fewshot.optimizers.observe import FullState, GradientRMS
from fewshot.optimizers.recurrent import RecurrentOptimizer
from fewshot.optimizers.stability import StabilityOptions

COLUMNS = {
    "gradient_rms": {"features": slice(0, 1)},
    "full": {
        "features": slice(0, 4),
        "weight": slice(0, 1),
        "gradient": slice(1, 2),
        "moments": slice(2, 4),
    },
}
"""Named columns of the state, by kind of features."""


@dataclass(frozen=True)
class SimpleOptions(StabilityOptions):
    """Options of SimpleOptimizer; the defaults are the published code's: 440 weights."""

    hidden_size: int = 20
    """Units of the recurrent layer."""
    output_scale: float = 0.1
    """Updates start at this scale: by the output layer's initial weights, but for the multiplier's share."""
    output_multiplier: float = field(default=1.0, metadata=OMITTED_DEFAULT)
    """Every update is multiplied by this, and the output layer's initial weights divided: the function is the same at
    the start, and so much less sensitive to a step of meta-training."""
    features: Literal["gradient_rms", "full"] = "gradient_rms"
    """The state of a weight: its gradient over the root mean square of the network's (published code), or the weight,
    that gradient and its two moments (section 3.1)."""
    first_decay: float = 0.9
    """Of the mean of gradients, in full features."""
    second_decay: float = 0.999
    """Of the mean of squared gradients, in full features."""
    scale_free: bool = field(default=False, metadata=OMITTED_DEFAULT)
    """Gradients enter the same for any multiple of a loss; else a small constant, 1e-5, is added to their mean
    square, as in the published code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_hidden_size(self.hidden_size)
        check_output_scale(self.output_scale)
        check_output_scale(self.output_multiplier, "output_multiplier")
        one_of("features", self.features, COLUMNS)
        for name in ("first_decay", "second_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must lie in [0, 1)")


class Simple(RecurrentOptimizer):
    """u = c V tanh(W x + U h), no biases; c is fixed, and 1 by default."""

    Options = SimpleOptions

    def __init__(self, generator: torch.Generator, options: SimpleOptions | None = None) -> None:
        super().__init__(generator, options)
        o, size = self.options, self.options.hidden_size
        if o.features == "gradient_rms":
            self.features = GradientRMS(o.scale_free)
        else:
            self.features = FullState(o.first_decay, o.second_decay, o.scale_free)
        self.rests_at_zero = o.features == "gradient_rms"
        self.columns, self.state_size = COLUMNS[o.features], self.features.size
        self.input = nn.Parameter(uniform_fan_in((size, self.state_size), size, generator))
        self.recurrent = nn.Parameter(uniform_fan_in((size, size), size, generator))
        self.output = nn.Parameter(o.output_scale / o.output_multiplier * uniform_fan_in((1, size), size, generator))

    @property
    def read_out(self) -> Tensor:
        """c V, [1, H]."""
        c = self.options.output_multiplier
        return self.output if c == 1 else c * self.output

    def equation(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        h = torch.tanh(state @ self.input.T + hidden[0] @ self.recurrent.T)
        return h @ self.read_out.T, (h,)

    def init_hidden(self, rows: int) -> Hidden:
        """(h [rows, H],), zero."""
        return (self._zeros(self.options.hidden_size, rows),)

    def known(self, hidden: Hidden) -> Hidden:
        """(2 U h [H, rows],)."""
        return ((2 * self.recurrent) @ hidden[0].T,)

    def read(self, x: Tensor, known: Hidden, hidden: Hidden) -> tuple[Tensor, Hidden]:
        update, h = read(known[0], x, self.input, self.read_out)
        return update, (h.T,)

    def advance_(self, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        return simple_(state, hidden[0], self.input, self.recurrent, self.read_out)[0]

    def native_step(self) -> native.NativeStep | None:
        return native.simple(self.input, self.recurrent, self.read_out) if type(self) is Simple else None

    def response(self, step: Step, columns: slice) -> Response:
        return ClosedForm(self, step, columns)
