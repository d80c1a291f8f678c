"""Optimizers of network weights: cores whose rows are the weights of a network, and that know how to observe them.

The general track and the drop-in `fewshot.LearnedOptimizer` work with any core of this kind: they take its features of
the gradient as state, and add its update to the weights.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch

from fewshot.errors import InputError
from fewshot.optimizers.core import NeuralOptimizer
from fewshot.optimizers.observe import Features


class CoordinatewiseOptimizer(NeuralOptimizer):
    """A core with one row a weight and one update a row, [rows, 1].

    A subclass is one architecture: features of the gradient, a recurrent network over them, a scale of its output.
    """

    Options: ClassVar[type]
    """Frozen dataclass of its options; every field has a default."""
    features: Features
    """Turns gradients into state columns; `state_size` is its size."""

    def __init__(self, generator: torch.Generator, options: Any = None) -> None:
        """Draw the initial parameters.

        Args:
            generator: source of every draw.
            options: an instance of `Options`; None: its defaults.
        """
        super().__init__()
        self.options = options if options is not None else self.Options()


def check_hidden_size(size: int) -> None:
    """Refuse numbers of units that make no network.

    Raises:
        InputError: unless `size` is a whole number from 1 to 1024.
    """
    if not isinstance(size, int) or not 1 <= size <= 1024:
        raise InputError(f"hidden_size is {size}; it must be a whole number from 1 to 1024")


def check_output_scale(scale: float) -> None:
    """Refuse scales of the output that make no update.

    Raises:
        InputError: unless `scale` is positive and finite.
    """
    if not 0 < scale < math.inf:
        raise InputError(f"output_scale is {scale}; it must be positive and finite")
