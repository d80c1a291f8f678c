"""Optimizers of network weights: cores whose rows are the weights of a network, and that know how to observe them.

The general track and the drop-in `fewshot.LearnedOptimizer` work with any core of this kind: they take its features of
the gradient as state, and add its update to the weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.optimizers.core import Hidden, NeuralOptimizer
from fewshot.optimizers.fast.native import NativeStep
from fewshot.optimizers.observe import Features, Memory

OMITTED_DEFAULT: Mapping[str, Any] = {"omit_default": True}
"""Metadata of an option that came later: where it has its default, configurations and their hashes are without it."""


class CoordinatewiseOptimizer(NeuralOptimizer):
    """A core with one row a weight and one update a row, [rows, 1].

    A subclass is one architecture: features of the gradient, a recurrent network over them, a scale of its output.

    Where rows depend on each other (`independent_rows` is False), those of several networks stand one after another,
    and the last part of hidden says which belong together: lengths [networks, tensors], integers on the CPU, of how
    many rows each tensor of each network has. All networks have the same.
    """

    Options: ClassVar[type]
    """Frozen dataclass of its options; every field has a default."""
    features: Features
    """Turns gradients into state columns; `state_size` is its size."""
    rests_at_zero: bool = False
    """Whether a state of zeros leaves a hidden of zeros as it is, with an update of zero."""
    tensor_parts: int = 0
    """Parts of hidden that have a row a tensor instead of a weight: the last ones, before lengths."""
    by_rows: bool = True
    """Whether `observe` needs no hidden, and `advance_` may be given some rows at a time, without lengths."""
    update_rms: float = 0.0
    """Where positive, `advance_` gives outputs [rows], and whoever calls it divides them by their root mean square over
    the network, multiplies by this and adds `beside`."""

    def __init__(self, generator: torch.Generator, options: Any = None) -> None:
        """Draw the initial parameters.

        Args:
            generator: source of every draw.
            options: an instance of `Options`; None: its defaults.
        """
        super().__init__()
        self.options = options if options is not None else self.Options()
        if getattr(self.options, "stabilize", False):
            raise TypeError(f"{type(self).__name__} has no part in that: make it with `fewshot.optimizers.create`")

    def begin(self, lengths: Tensor, seed: int = 0) -> Hidden:
        """The memory before the first inner step of networks whose rows stand one after another.

        Args:
            lengths: [networks, tensors], see above.
            seed: decides what is drawn, where memory begins with draws.
        """
        return self.init_hidden(int(lengths.sum()))

    def observe(
        self, gradient: Tensor, weights: Tensor, memory: Memory, hidden: Hidden, mean_square: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        """The state columns [..., P, F] of a gradient, and the features' next memory; see `Features`.

        Args:
            gradient: [..., P].
            weights: [..., P].
            memory: of the features.
            hidden: from `begin` or the previous step; it may be left out (`()`) where rows are taken by themselves.
            mean_square: as features take it.
        """
        if mean_square is None:
            return self.features(gradient, weights, memory)
        return self.features(gradient, weights, memory, mean_square)

    def beside(self, state: Tensor) -> Tensor | None:
        """What is added to the scaled outputs of a state [F, rows]: [rows]; None: nothing."""
        return None

    def advance_(self, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """`forward` without a graph and in place, the same to the last bit: what trained optimizers step with.

        A core that can do without most of the memory of `forward` overrides this.

        Args:
            state: [F, rows].
            hidden: each [units, rows], and changed.

        Returns:
            The updates, [rows].
        """
        update, following = self(state.T, tuple(part.T for part in hidden))
        for part, new in zip(hidden, following, strict=True):
            part.copy_(new.T)
        return update[:, 0]

    def native_step(self) -> NativeStep | None:
        """`advance_` in compiled code, to rounding, with the weights as they are now; None where there is none."""
        return None


def check_hidden_size(size: int, name: str = "hidden_size") -> None:
    """Refuse numbers of units that make no network.

    Raises:
        InputError: unless `size` is a whole number from 1 to 1024.
    """
    if not isinstance(size, int) or not 1 <= size <= 1024:
        raise InputError(f"{name} is {size}; it must be a whole number from 1 to 1024")


def check_output_scale(scale: float, name: str = "output_scale") -> None:
    """Refuse scales of the output that make no update.

    Raises:
        InputError: unless `scale` is positive and finite.
    """
    if not 0 < scale < math.inf:
        raise InputError(f"{name} is {scale}; it must be positive and finite")
