"""Hand-designed optimizers of torch.optim, and the choice of their learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.general.evaluate import final_losses
from fewshot.general.stepping import StepperFactory, TorchStepper
from fewshot.general.tasks import Problem
from fewshot.registry import Registry

HAND_DESIGNED: Registry[Callable[..., torch.optim.Optimizer]] = Registry("hand-designed optimizer")
"""By name: from parameters and `lr` to an optimizer; everything else is torch's default."""
HAND_DESIGNED.register("sgd", torch.optim.SGD)
HAND_DESIGNED.register("sgdm", lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9))
HAND_DESIGNED.register("adam", torch.optim.Adam)
HAND_DESIGNED.register("amsgrad", lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, amsgrad=True))
HAND_DESIGNED.register("rmsprop", torch.optim.RMSprop)


@dataclass(frozen=True)
class GridOptions:
    """Options of the choice of the learning rate."""

    low: float = 1e-4
    """Smallest rate."""
    high: float = 1.0
    """Largest rate."""
    points: int = 9
    """Rates, logarithmically spaced, both ends among them."""
    batch_size: int = 128
    """Examples per step."""
    validation_problems: int = 5
    """Fixed initializations; the rate with the least mean loss on the validation split after `test.steps` is tested."""

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf:
            raise InputError(
                f"training.low and training.high are {self.low} and {self.high}; both must be positive and in order"
            )
        for name in ("points", "batch_size", "validation_problems"):
            if getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be at least 1")

    def rates(self) -> list[float]:
        """The grid."""
        return [float(f"{rate:.6g}") for rate in np.geomspace(self.low, self.high, self.points)]


def hand_designed(name: str, rate: float) -> StepperFactory:
    """Optimizer `name` with learning rate `rate`."""

    def start(weights: Tensor) -> TorchStepper:
        return TorchStepper(lambda parameters: HAND_DESIGNED[name](parameters, lr=rate), weights)

    return start


def choose_rate(
    name: str,
    options: GridOptions,
    problems: Sequence[Problem],
    steps: int,
    advance: Callable[[], None] = lambda: None,
) -> tuple[float | None, list[dict[str, Any]]]:
    """Train every problem with every rate.

    Args:
        name: in `HAND_DESIGNED`.
        options: the grid.
        problems: of stage val.
        steps: of each training.
        advance: called after every rate.

    Returns:
        The rate with the least mean validation loss, None where every rate diverged; and the grid: rate and
        validation_loss, None where any problem diverged.
    """
    grid = []
    for rate in options.rates():
        loss = float(np.mean(final_losses(list(problems), hand_designed(name, rate), steps)))
        grid.append({"rate": rate, "validation_loss": loss if math.isfinite(loss) else None})
        advance()
    finite = [point for point in grid if point["validation_loss"] is not None]
    return (min(finite, key=lambda point: point["validation_loss"])["rate"] if finite else None), grid
