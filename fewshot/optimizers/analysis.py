"""How smooth a learned optimizer is around the zero state (section 5.1, Fig. 7)."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import torch

from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer

DEVIATION = 0.1
"""Of the sampled states. The paper's N(0, 0.1) is read as a standard deviation of 0.1."""


class ZeroStateResponse(NamedTuple):
    """Updates around the zero state, no memory yet."""

    states: np.ndarray
    """[count, F], in the order drawn."""
    updates: np.ndarray
    """[count]."""
    slopes: np.ndarray
    """[count], l1 norms of ∂u/∂s: by how much the update can change for a unit of change in the l∞ norm."""
    lipschitz: float
    """The largest slope: a lower bound of the Lipschitz constant there."""


def zero_state_response(
    core: CoordinatewiseOptimizer, generator: torch.Generator, count: int = 1000, deviation: float = DEVIATION
) -> ZeroStateResponse:
    """Updates of states drawn from a normal distribution around zero, and their derivatives.

    In float64: differences between close float32 updates are mostly rounding.

    Args:
        core: it stays as it is.
        generator: on the CPU, source of the states.
        count: number of states.
        deviation: standard deviation of each column.
    """
    states = deviation * torch.randn(count, core.state_size, generator=generator, dtype=torch.float64)
    core = copy.deepcopy(core).cpu().double()
    with torch.no_grad(), core.unroll():
        step = core.step(states, core.init_hidden(count))
        updates, pull = core.response(step, core.column_slice("all")).vjp(states)
        slopes = pull(torch.ones_like(updates)).abs().sum(dim=1)
    return ZeroStateResponse(states.numpy(), updates[:, 0].numpy(), slopes.numpy(), float(slopes.max()))
