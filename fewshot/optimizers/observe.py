"""Turning gradients and losses into the features that neural optimizers read."""

import math

import torch
from torch import Tensor


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
