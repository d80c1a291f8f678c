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
from fewshot.optimizers.core import NeuralOptimizer
from fewshot.optimizers.fast.native import NativeStep
from fewshot.optimizers.observe import Features

OMITTED_DEFAULT: Mapping[str, Any] = {"omit_default": True}
"""Metadata of an option that came later: where it has its default, configurations and their hashes are without it."""


class CoordinatewiseOptimizer(NeuralOptimizer):
    """A core with one row a weight and one update a row, [rows, 1].

    A subclass is one architecture: features of the gradient, a recurrent network over them, a scale of its output.
    """

    Options: ClassVar[type]
    """Frozen dataclass of its options; every field has a default."""
    features: Features
    """Turns gradients into state columns; `state_size` is its size."""
    rests_at_zero: bool = False
    """Whether a state of zeros leaves a hidden of zeros as it is, with an update of zero."""

    def __init__(self, generator: torch.Generator, options: Any = None) -> None:
        """Draw the initial parameters.

        Args:
            generator: source of every draw.
            options: an instance of `Options`; None: its defaults.
        """
        super().__init__()
        self.options = options if options is not None else self.Options()

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


def check_hidden_size(size: int) -> None:
    """Refuse numbers of units that make no network.

    Raises:
        InputError: unless `size` is a whole number from 1 to 1024.
    """
    if not isinstance(size, int) or not 1 <= size <= 1024:
        raise InputError(f"hidden_size is {size}; it must be a whole number from 1 to 1024")


def check_output_scale(scale: float, name: str = "output_scale") -> None:
    """Refuse scales of the output that make no update.

    Raises:
        InputError: unless `scale` is positive and finite.
    """
    if not 0 < scale < math.inf:
        raise InputError(f"{name} is {scale}; it must be positive and finite")
