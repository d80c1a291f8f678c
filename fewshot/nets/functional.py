"""Networks as pure functions of one flat weight vector."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


class FlatLayout:
    """Where each named weight lies in a flat vector."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.total = sum(self.sizes)

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Flat weights [..., total] -> views by name, each [..., *shape]."""
        pieces = flat.split(self.sizes, dim=-1)
        return {
            name: piece.view(*flat.shape[:-1], *shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def flatten(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Weights by name -> flat copy [total]."""
        return torch.cat([weights[name].reshape(-1) for name in self.shapes])


def uniform_fan_in(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    """Uniform in ±1/√fan_in, the default of torch's convolutional and linear layers."""
    bound = 1 / math.sqrt(fan_in)
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
