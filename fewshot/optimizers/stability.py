"""What keeps steps of any core from being too large or senseless: a fixed root mean square, and a nominal step beside.

Both are options of every core, and can be combined with smoothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.errors import InputError
from fewshot.optimizers.coordinatewise import OMITTED_DEFAULT, CoordinatewiseOptimizer
from fewshot.optimizers.core import Hidden, NeuralOptimizer, Response, Step
from fewshot.optimizers.fast.native import NativeStep
from fewshot.optimizers.observe import Features, Memory, NominalStep

NOMINAL = "nominal"


@dataclass(frozen=True, kw_only=True)
class StabilityOptions:
    """Options that every core has whose own are derived from these; all are off by default."""

    update_rms: float = field(default=0.0, metadata=OMITTED_DEFAULT)
    """Root mean square of a step over the weights of a network, to which outputs are scaled; 0: as they are."""
    nominal_rate: float = field(default=0.0, metadata=OMITTED_DEFAULT)
    """Rate of a step like Adam's that is taken beside the learned one; 0: none."""
    nominal_learned: bool = field(default=False, metadata=OMITTED_DEFAULT)
    """Whether that rate is meta-trained from there, or fixed."""
    nominal_decays: tuple[float, ...] = field(default=(0.9, 0.99, 0.999), metadata=OMITTED_DEFAULT)
    """Of averages of gradients, over which that step takes the mean."""
    nominal_square_decay: float = field(default=0.999, metadata=OMITTED_DEFAULT)
    """Of the average of squared gradients by whose root it divides."""

    def __post_init__(self) -> None:
        for name in ("update_rms", "nominal_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}; it must be finite, and at least 0 (none)")
        if not self.nominal_decays:
            raise InputError("nominal_decays is empty; give at least one decay, such as 0.9")
        for decay in (*self.nominal_decays, self.nominal_square_decay):
            if not 0 <= decay < 1:
                raise InputError(f"a decay of the nominal step is {decay}; it must lie in [0, 1)")
        if self.nominal_learned and not self.nominal_rate:
            raise InputError("nominal_learned is true, but there is no nominal_rate to begin with; give one")

    @property
    def stabilize(self) -> bool:
        """Whether any of them is on."""
        return self.update_rms > 0 or self.nominal_rate > 0

    def without(self) -> Any:
        """The same options with all of these at their defaults."""
        return dataclasses.replace(self, **{each.name: each.default for each in dataclasses.fields(StabilityOptions)})


def create(
    kind: type[CoordinatewiseOptimizer], generator: torch.Generator, options: Any = None
) -> CoordinatewiseOptimizer:
    """A core of a kind, within `Stabilized` where its options ask for that.

    Args:
        kind: such as a value of `LEARNED`.
        generator: source of every draw.
        options: an instance of `kind.Options`; None: its defaults.
    """
    options = kind.Options() if options is None else options
    if not getattr(options, "stabilize", False):
        return kind(generator, options)
    return Stabilized(kind(generator, options.without()), options)


class Stabilized(CoordinatewiseOptimizer):
    """u = c o / rms(o) - a n: a core's outputs o at a fixed root mean square over each network, and a nominal step n.

    Either part may be off: without c, u = o - a n. The root mean square of every step is that of Celo2; the nominal
    step, `NominalStep`, that of STAR. n is a column of the state, "nominal", which smoothness leaves alone unless told
    otherwise. A response holds the root mean square at that of its step: by how much a weight's update changes with
    its own state, in units of the updates of its network.
    """

    Options = StabilityOptions

    def __init__(self, core: CoordinatewiseOptimizer, options: StabilityOptions) -> None:
        """Put options around a core that is made without them."""
        nn.Module.__init__(self)
        self.core, self.options, self.update_rms = core, options, options.update_rms
        self.tensor_parts, self.by_rows = core.tensor_parts, core.by_rows
        self.independent_rows = core.independent_rows and not self.update_rms
        self.features, self.columns, self.state_size = core.features, core.columns, core.state_size
        self.smooth_columns, self.rests_at_zero = core.smooth_columns, core.rests_at_zero
        self._nominal = None
        if options.nominal_rate:
            self._nominal = NominalStep(options.nominal_decays, options.nominal_square_decay)
            self.features, self.rests_at_zero = _Both(core.features, self._nominal), False
            self.state_size = self.features.size
            own = {"inputs": slice(0, core.state_size), NOMINAL: slice(core.state_size, self.state_size)}
            self.columns = {**own, **core.columns}
            self.smooth_columns = "inputs" if core.smooth_columns == "all" else core.smooth_columns
        if options.nominal_learned:
            self.log_nominal_rate = nn.Parameter(torch.tensor(options.nominal_rate).log())

    @property
    def nominal_rate(self) -> float | Tensor:
        """a."""
        return self.log_nominal_rate.exp() if self.options.nominal_learned else self.options.nominal_rate

    def init_hidden(self, rows: int) -> Hidden:
        return self.begin(torch.tensor([[rows]], device="cpu"))

    def begin(self, lengths: Tensor, seed: int = 0) -> Hidden:
        hidden = self.core.begin(lengths, seed)
        return hidden if self.independent_rows or not self.core.independent_rows else (*hidden, lengths)

    def observe(
        self, gradient: Tensor, weights: Tensor, memory: Memory, hidden: Hidden, mean_square: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        hidden = self._of_core(hidden) if hidden else hidden
        if self._nominal is None:
            return self.core.observe(gradient, weights, memory, hidden, mean_square)
        cut = len(memory) - len(self._nominal.init(gradient[..., :0]))
        state, of_core = self.core.observe(gradient, weights, memory[:cut], hidden, mean_square)
        nominal, rest = self._nominal(gradient, weights, memory[cut:])
        return torch.cat([state, nominal], dim=-1), (*of_core, *rest)

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        step = self.step(state, hidden)
        return step.update, step.next_hidden

    def equation(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        output, following = self.core.equation(state[:, : self.core.state_size], self._of_core(hidden))
        return self._finished(output, self._scale(output, hidden), state), self._with_lengths(following, hidden)

    def step(self, state: Tensor, hidden: Hidden) -> Step:
        inner = self.core.step(state[:, : self.core.state_size], self._of_core(hidden))
        scale = self._scale(inner.update, hidden)
        following = self._with_lengths(inner.next_hidden, hidden)
        known = (inner.update, *([] if scale is None else [scale]), *inner.known)
        return Step(state, hidden, self._finished(inner.update, scale, state), following, known)

    def response(self, step: Step, columns: slice) -> Response:
        inner, scale = self._of_step(step)
        own = self.core.state_size
        if columns.start >= own:
            return Response(lambda values: self._finished(inner.update, scale, step.moved_to(values, columns)))
        moving = slice(columns.start, min(columns.stop, own))
        fixed = self.beside(step.state.T)
        if columns.stop > own:
            return _WithNominal(self, self.core.response(inner, moving), scale, own - columns.start)
        return _Scaled(self.core.response(inner, moving), scale, None if fixed is None else fixed[:, None])

    def max_gap(self, step: Step, radius: float, columns: slice) -> Tensor | None:
        if columns.stop > self.core.state_size:
            return None
        inner, scale = self._of_step(step)
        gap = self.core.max_gap(inner, radius, columns)
        return gap if gap is None or scale is None else gap * scale.square()[:, 0]

    def diagnostics(self, step: Step) -> dict[str, Tensor]:
        return self.core.diagnostics(self._of_step(step)[0])

    def advance_(self, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        return self._advanced(self.core.advance_, state, hidden)

    def native_step(self) -> NativeStep | None:
        native = self.core.native_step()
        return None if native is None else lambda state, hidden: self._advanced(native, state, hidden)

    def beside(self, state: Tensor) -> Tensor | None:
        return None if self._nominal is None else -self.nominal_rate * state[-1]

    def _advanced(self, advance: NativeStep, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        output = advance(state[: self.core.state_size], hidden)
        beside = None if self.update_rms else self.beside(state)
        return output if beside is None else output + beside

    def _of_core(self, hidden: Hidden) -> Hidden:
        return hidden[:-1] if self.core.independent_rows and not self.independent_rows else hidden

    def _with_lengths(self, following: Hidden, hidden: Hidden) -> Hidden:
        return (*following, *hidden[len(following) :])

    def _of_step(self, step: Step) -> tuple[Step, Tensor | None]:
        """The core's part of a step, and the scale [rows, 1] of its outputs."""
        if not step.known:
            step = self.step(step.state, step.hidden)
        cut = 1 + (self.update_rms > 0)
        scale = step.known[1] if self.update_rms else None
        hidden, following = self._of_core(step.hidden), self._of_core(step.next_hidden)
        return Step(step.state[:, : self.core.state_size], hidden, step.known[0], following, step.known[cut:]), scale

    def _scale(self, output: Tensor, hidden: Hidden) -> Tensor | None:
        """c / rms(o) of each row's network, [rows, 1]; None where outputs stay as they are."""
        if not self.update_rms:
            return None
        scale = inverse_rms(output.reshape(len(hidden[-1]), -1), self.update_rms)
        return scale.expand(-1, len(output) // max(1, len(scale))).reshape(-1, 1)

    def _finished(self, output: Tensor, scale: Tensor | None, state: Tensor) -> Tensor:
        update, beside = output if scale is None else output * scale, self.beside(state.T)
        return update if beside is None else update + beside[:, None]


class _Both(Features):
    """What two kinds of features remember and need; `Stabilized.observe` evaluates them."""

    def __init__(self, first: Features, second: Features) -> None:
        self._parts = first, second
        self.size, self.needs, self.reads_weights = first.size + second.size, first.needs, first.reads_weights

    def init(self, weights: Tensor) -> Memory:
        return tuple(part for each in self._parts for part in each.init(weights))


class _Scaled(Response):
    """A core's response times a scale plus an addend, neither of which moves."""

    def __init__(self, inner: Response, scale: Tensor | None, addend: Tensor | None) -> None:
        self._inner, self._scale, self._addend, self.divisible = inner, scale, addend, inner.divisible

    def __call__(self, values: Tensor) -> Tensor:
        return self._finished(self._inner(values))

    def at(self, rows: Tensor) -> Response:
        scale, addend = (None if part is None else part[rows] for part in (self._scale, self._addend))
        return _Scaled(self._inner.at(rows), scale, addend)

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        output, pull = self._inner.vjp(values)
        scale = None if self._scale is None else self._scale.detach()
        return self._finished(output).detach(), pull if scale is None else lambda cotangent: pull(cotangent * scale)

    def farther(self, low: Tensor, high: Tensor, update: Tensor) -> Tensor:
        with torch.no_grad():
            center = update if self._addend is None else update - self._addend
            center = center if self._scale is None else center / self._scale
        return self._finished(self._inner.farther(low, high, center))

    def _finished(self, output: Tensor) -> Tensor:
        update = output if self._scale is None else output * self._scale
        return update if self._addend is None else update + self._addend


class _WithNominal(Response):
    """The same where the nominal column moves too, the last one of the values."""

    def __init__(self, core: Stabilized, inner: Response, scale: Tensor | None, cut: int) -> None:
        scaled = _Scaled(inner, scale, None)
        super().__init__(lambda values: scaled(values[:, :cut]) - core.nominal_rate * values[:, cut:])


def inverse_rms(output: Tensor, multiplier: float) -> Tensor:
    """multiplier / √(mean o²) over the last axis, kept; finite where all outputs are zero."""
    mean = output.square().mean(dim=-1, keepdim=True)
    return multiplier * mean.clamp_min(torch.finfo(mean.dtype).tiny).rsqrt()


def plain(core: NeuralOptimizer) -> NeuralOptimizer:
    """A core without what `create` puts around it."""
    return core.core if isinstance(core, Stabilized) else core
