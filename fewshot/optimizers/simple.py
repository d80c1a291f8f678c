"""SimpleOptimizer: one small recurrent layer without biases over each weight's normalized gradient.

Patrick H. Chen et al., "Learning to Learn with Better Convergence", 2020, as Xiong & Hsieh's published code has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from fewshot.errors import InputError, one_of
from fewshot.nets.functional import uniform_fan_in
from fewshot.optimizers.coordinatewise import OMITTED_DEFAULT, check_hidden_size, check_output_scale
from fewshot.optimizers.core import Hidden, Response, Step, squared_distance
from fewshot.optimizers.fast import native
from fewshot.optimizers.fast.cells import add_product, sigmoid_to_tanh_
from fewshot.optimizers.observe import FullState, GradientRMS
from fewshot.optimizers.recurrent import RecurrentOptimizer, RecurrentResponse

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
class SimpleOptions:
    """Options of SimpleOptimizer; the defaults are the published code's: 440 weights."""

    hidden_size: int = 20
    """Units of the recurrent layer."""
    output_scale: float = 0.1
    """The output layer's initial weights are multiplied by this."""
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
        check_hidden_size(self.hidden_size)
        check_output_scale(self.output_scale)
        one_of("features", self.features, COLUMNS)
        for name in ("first_decay", "second_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must lie in [0, 1)")


class Simple(RecurrentOptimizer):
    """u = V tanh(W x + U h), no biases."""

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
        self.output = nn.Parameter(o.output_scale * uniform_fan_in((1, size), size, generator))

    def init_hidden(self, rows: int) -> Hidden:
        """(h [rows, H],), zero."""
        return (self._zeros(self.options.hidden_size, rows),)

    def known(self, hidden: Hidden) -> Hidden:
        """(2 U h [H, rows],)."""
        return ((2 * self.recurrent) @ hidden[0].T,)

    def read(self, x: Tensor, known: Hidden, hidden: Hidden) -> tuple[Tensor, Hidden]:
        update, h = _Read.apply(known[0], x, self.input, self.output, None)
        return update, (h.T,)

    def advance_(self, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        z = (2 * self.recurrent) @ hidden[0]
        add_product(z, 2 * self.input, state, out=z)
        h = sigmoid_to_tanh_(z.sigmoid_(), out=hidden[0])
        return (self.output @ h)[0]

    def native_step(self) -> native.NativeStep | None:
        return native.simple(self.input, self.recurrent, self.output) if type(self) is Simple else None

    def response(self, step: Step, columns: slice) -> Response:
        return _ClosedForm(self, step, columns)


class _Read(Function):
    """V h, h for h = tanh(W x + U h'), given 2 U h': tanh(z) is 2σ(2z) - 1, and no pass over the rows is wasted.

    Whoever has h already gives it, for its graph alone.
    """

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


class _ClosedForm(RecurrentResponse):
    """The response of `Simple`, and its derivative, without a graph and without the recurrent product.

    With σ = σ(2 (W x + U h)): u = 2 V σ - V 1, and ∂u/∂x = 4 Σ V W (σ - σ²).
    """

    _core: Simple

    def __init__(self, core: Simple, step: Step, columns: slice) -> None:
        super().__init__(core, step, columns)
        with torch.no_grad():
            moving = core.input[:, columns]
            known = self._known[0]
            if columns.stop - columns.start < core.state_size:
                fixed = torch.cat([step.state[:, : columns.start], step.state[:, columns.stop :]], dim=1)
                weights = torch.cat([core.input[:, : columns.start], core.input[:, columns.stop :]], dim=1)
                known = torch.addmm(known, 2 * weights, fixed.T)
            self._still, self._moving = known, 2 * moving
            self._output, self._offset = 2 * core.output, core.output.sum()
            self._slope = 4 * core.output * moving.T
        self._scratch = torch.empty_like(known)

    def __call__(self, values: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().__call__(values)
        return self._update(self._units(values, self._scratch))

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        with torch.no_grad():
            s = self._units(values, self._scratch)
            update = self._update(s)
            slope = (self._slope @ s.addcmul_(s, s, value=-1)).T
        return update, lambda cotangent: cotangent * slope

    def farther(self, low: Tensor, high: Tensor, update: Tensor) -> Tensor:
        with torch.no_grad():
            s, s_high = self._units(low), self._units(high, self._scratch)
            choose_high = squared_distance(self._update(s_high), update) > squared_distance(self._update(s), update)
            choice = choose_high.to(s.dtype)  # lerp by 0 or 1 is where, exactly, in a quarter of its time
            h = sigmoid_to_tanh_(torch.lerp(s, s_high, choice, out=s))
            x = self._step.moved_to(torch.lerp(low, high, choice.unsqueeze(-1)), self._columns)
        return _Read.apply(self._known[0], x.T, self._core.input, self._core.output, h)[0].T

    def _units(self, values: Tensor, out: Tensor | None = None) -> Tensor:
        """σ of every unit, [H, rows]."""
        return add_product(self._still, self._moving, values.T, out=out).sigmoid_()

    def _update(self, s: Tensor) -> Tensor:
        return (self._output @ s).sub_(self._offset).T
