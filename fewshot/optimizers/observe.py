"""Turning gradients and losses into the features that neural optimizers read."""

from __future__ import annotations

import math

import torch
from torch import Tensor

Memory = tuple[Tensor, ...]
"""What features remember from step to step, each [..., P]; `()` for features without memory."""


class Features:
    """State columns of the weights of one network, or of several of one size, from their gradients.

    Pure: all memory is passed in and out. Gradients enter as constants.
    """

    size: int
    """F, columns."""

    def init(self, weights: Tensor) -> Memory:
        """The memory before the first step, for weights [..., P]."""
        return ()

    def __call__(self, gradient: Tensor, weights: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Observe one step.

        Args:
            gradient: [..., P], of the loss with respect to `weights`, without a graph.
            weights: [..., P]; the last axis runs over the weights of one network.
            memory: from `init` or the previous step.

        Returns:
            State columns [..., P, F], and the next memory.
        """
        raise NotImplementedError


class GradientRMS(Features):
    """g / √(mean g² + 1e-5), the mean over all weights of a network: what Xiong & Hsieh's code feeds its optimizer."""

    size = 1
    _eps = 1e-5

    def __call__(self, gradient: Tensor, weights: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        scale = (gradient.square().mean(dim=-1, keepdim=True) + self._eps).rsqrt()
        return (gradient * scale).unsqueeze(-1), memory


def log_sign(x: Tensor, p: float = 10.0) -> Tensor:
    """Two features of moderate size for a number of any magnitude.

    (log|x| / p, sign x) where |x| ≥ e^-p, else (-1, e^p x). Andrychowicz et al., "Learning to learn by gradient descent
    by gradient descent", 2016, appendix A; Ravi & Larochelle, 2017, section 3.3.

    Args:
        x: any shape.

    Returns:
        [*x.shape, 2]
    """
    large = x.abs() >= math.exp(-p)
    magnitude = torch.where(large, x.abs().clamp_min(math.exp(-p)).log() / p, -1.0)
    direction = torch.where(large, x.sign(), math.exp(p) * x)
    return torch.stack([magnitude, direction], dim=-1)
