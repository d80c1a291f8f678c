"""Hand-designed optimizers, and the choice of their learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from schedulefree import AdamWScheduleFree
from torch import Tensor

from fewshot.errors import InputError
from fewshot.general.evaluate import Curve, train
from fewshot.general.stepping import StepperFactory, TorchStepper
from fewshot.general.tasks import Problem
from fewshot.general.together import networks_at_once
from fewshot.optimizers.coordinatewise import OMITTED_DEFAULT
from fewshot.registry import Registry

HAND_DESIGNED: Registry[Callable[..., torch.optim.Optimizer]] = Registry("hand-designed optimizer")
"""By name: from parameters (or groups of them) and `lr` to an optimizer; everything else is its library's default."""
HAND_DESIGNED.register("sgd", torch.optim.SGD)
HAND_DESIGNED.register("sgdm", lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9))
HAND_DESIGNED.register("adam", torch.optim.Adam)
HAND_DESIGNED.register("amsgrad", lambda parameters, lr: torch.optim.Adam(parameters, lr=lr, amsgrad=True))
HAND_DESIGNED.register("rmsprop", torch.optim.RMSprop)
HAND_DESIGNED.register("adamw_cosine", torch.optim.AdamW)
HAND_DESIGNED.register("schedule_free", AdamWScheduleFree)
ELEMENTWISE = ("sgd", "sgdm", "adam", "amsgrad", "rmsprop", "adamw_cosine", "schedule_free")
"""Those that treat every weight alone: the weights of several networks may be one parameter. Of all others, each
network is a parameter of its own."""
DECAYED = ("adamw_cosine",)
"""Those whose rate falls to zero over the horizon, along half a cosine (Loshchilov & Hutter, ICLR 2017, Eq. 5)."""
LEAST_PROBLEMS = 3
"""Validation problems without which a rate is chosen by luck."""


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
    """Fixed initializations; the rate with the least mean loss on the validation split after `test.steps` is tested.
    At least 3."""
    envelope: bool = field(default=True, metadata=OMITTED_DEFAULT)
    """Of `adam`: train the test problems with every rate of the grid and keep the losses, for speed-ups over it."""

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf:
            raise InputError(
                f"training.low and training.high are {self.low} and {self.high}; both must be positive and in order"
            )
        least = {"points": 1, "batch_size": 1, "validation_problems": LEAST_PROBLEMS}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be at least {low}")

    def rates(self) -> list[float]:
        """The grid."""
        return [float(f"{rate:.6g}") for rate in np.geomspace(self.low, self.high, self.points)]


class Choice(NamedTuple):
    """A rate chosen from a grid."""

    rate: float | None
    """With the least mean validation loss; None where every rate diverged."""
    grid: list[dict[str, Any]]
    """rate and validation_loss, None where any problem diverged."""

    @property
    def border(self) -> Literal["lowest", "highest"] | None:
        """Whether it lies at an end of a grid of several rates, beyond which there may be a better one."""
        rates = [point["rate"] for point in self.grid]
        if len(rates) < 2 or self.rate not in (rates[0], rates[-1]):
            return None
        return "lowest" if self.rate == rates[0] else "highest"


def hand_designed(name: str, rates: float | Sequence[float], steps: int) -> StepperFactory:
    """An optimizer with its learning rate.

    Args:
        name: in `HAND_DESIGNED`.
        rates: one for all networks, or one for each of so many equal parts of them.
        steps: the horizon, over which the rates of some fall.
    """
    own = [rates] if isinstance(rates, float | int) else list(rates)

    def start(weights: Tensor) -> TorchStepper:
        spread = own
        if name not in ELEMENTWISE and weights.ndim > 1:
            spread = [rate for rate in own for _ in range(len(weights) // len(own))]
        schedule = (lambda step: (1 + math.cos(math.pi * step / steps)) / 2) if name in DECAYED else None
        return TorchStepper(lambda groups: HAND_DESIGNED[name](groups, lr=spread[0]), weights, spread, schedule)

    return start


def train_grid(
    name: str,
    rates: Sequence[float],
    problems: Sequence[Problem],
    steps: int,
    at: Iterable[int] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> list[list[Curve]]:
    """Train every problem with every rate, side by side.

    Args:
        name: in `HAND_DESIGNED`.
        rates: of the grid.
        problems: of one size.
        steps, at, advance: as `train` takes them.

    Returns:
        For every rate, a curve for every problem.
    """
    found, count = [], len(problems)
    size = max(1, networks_at_once(problems) // count)
    for i in range(0, len(rates), size):
        some = rates[i : i + size]
        curves = train([*problems] * len(some), hand_designed(name, some, steps), steps, at, advance)
        found += [curves[j : j + count] for j in range(0, len(curves), count)]
    return found


def choose_rate(
    name: str,
    options: GridOptions,
    problems: Sequence[Problem],
    steps: int,
    advance: Callable[[int], None] = lambda count: None,
) -> Choice:
    """Train every problem with every rate.

    Args:
        name: in `HAND_DESIGNED`.
        options: the grid.
        problems: of stage val.
        steps: of each training.
        advance: as `train` takes it.
    """
    rates = options.rates()
    grid = []
    for rate, curves in zip(rates, train_grid(name, rates, problems, steps, advance=advance), strict=True):
        diverged = any(curve.diverged_at is not None for curve in curves)
        loss = None if diverged else float(np.mean([curve.test_loss[-1] for curve in curves]))
        grid.append({"rate": rate, "validation_loss": loss})
    finite = [point for point in grid if point["validation_loss"] is not None]
    return Choice(min(finite, key=lambda point: point["validation_loss"])["rate"] if finite else None, grid)
