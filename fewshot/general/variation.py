"""Training problems made more varied, so that an optimizer learns what holds beyond them.

Both ways are those of Kaifeng Lv, Shunhua Jiang, Jian Li, "Learning Gradient Descent: Better Generalization and Longer
Horizons", ICML 2017. Each makes a problem from a problem; the unroll knows of neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.general.tasks import Problem, Score
from fewshot.seeding import derive


@dataclass(frozen=True)
class VariationOptions:
    """Options of variation; by default there is none. Lv et al. train on 3.0, 20 and 1.0."""

    scaling: float = 0.0
    """r: every weight of the network is trained in a unit of its own, exp of a number from U(-r, r); 0: in none."""
    convex: int = 0
    """Coordinates of a convex function that is trained beside the network; 0: none."""
    convex_scaling: float = 0.0
    """r of the convex function's coordinates."""

    def __post_init__(self) -> None:
        for name in ("scaling", "convex_scaling"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"training.variation.{name} is {getattr(self, name)}; it must be finite and at least 0 (no scaling)"
                )
        if self.convex < 0:
            raise InputError(f"training.variation.convex is {self.convex}; it must be at least 0 (no convex part)")
        if self.convex_scaling and not self.convex:
            raise InputError(
                f"training.variation.convex_scaling is {self.convex_scaling}, but there is no convex part; set"
                " training.variation.convex, or leave it out"
            )


def varied(problem: Problem, options: VariationOptions, seed: int) -> Problem:
    """A problem with the variation that `options` ask for, or as it is where they ask for none.

    Args:
        problem: a training problem.
        options: what to vary.
        seed: decides every draw.
    """
    if options.scaling:
        problem = Scaled(problem, options.scaling, derive(seed, "scaling"))
    if options.convex:
        convex: Problem = ConvexPart(options.convex, derive(seed, "convex"))
        if options.convex_scaling:
            convex = Scaled(convex, options.convex_scaling, derive(seed, "convex scaling"))
        problem = Joined(problem, convex)
    return problem


class Scaled(Problem):
    """x ↦ f(c ⊙ x) from x₀ / c, log c from U(-r, r) for each coordinate; its gradient is c ⊙ ∇f."""

    def __init__(self, problem: Problem, bound: float, seed: int) -> None:
        """Vary a problem.

        Args:
            problem: f.
            bound: r; with 0 the problem is the same to the bit.
            seed: decides c.
        """
        self.problem, self.bound, self.seed = problem, bound, seed
        self._scale: Tensor | None = None

    def init(self) -> Tensor:
        start = self.problem.init()
        return start / self.scale(start)

    def sizes(self) -> tuple[int, ...]:
        return self.problem.sizes()

    def batch(self, step: int) -> Any:
        return self.problem.batch(step)

    def loss(self, weights: Tensor, batch: Any) -> Tensor:
        return self.problem.loss(self.scale(weights) * weights, batch)

    def training_score(self, weights: Tensor) -> Score:
        return self.problem.training_score(self.scale(weights) * weights)

    def held_out_score(self, weights: Tensor) -> Score:
        return self.problem.held_out_score(self.scale(weights) * weights)

    def scale(self, like: Tensor) -> Tensor:
        """c [P], of the type and on the device of `like` [P]."""
        if self._scale is None or (self._scale.dtype, self._scale.device) != (like.dtype, like.device):
            generator = torch.Generator().manual_seed(self.seed)
            exponent = torch.empty(like.shape).uniform_(-self.bound, self.bound, generator=generator)
            self._scale = exponent.to(like).exp()
        return self._scale


class ConvexPart(Problem):
    """x ↦ mean min((x - a)², 10) from zero, a from U(-1, 1): convex as long as no coordinate strays beyond √10."""

    largest = 10.0

    def __init__(self, size: int, seed: int) -> None:
        """Draw a problem of `size` coordinates; `seed` decides a."""
        self.target = torch.empty(size).uniform_(-1, 1, generator=torch.Generator().manual_seed(seed))

    def init(self) -> Tensor:
        return torch.zeros_like(self.target)

    def batch(self, step: int) -> None:
        return None

    def loss(self, weights: Tensor, batch: None) -> Tensor:
        return (weights - self.target.to(weights)).square().clamp_max(self.largest).mean()

    def training_score(self, weights: Tensor) -> Score:
        return self.held_out_score(weights)

    def held_out_score(self, weights: Tensor) -> Score:
        return Score(self.loss(weights.detach(), None), None)


class Joined(Problem):
    """Two problems trained as one: coordinates one after the other, losses summed; accuracy is the first one's."""

    def __init__(self, first: Problem, second: Problem) -> None:
        self.first, self.second = first, second
        self._cut: int | None = None

    def init(self) -> Tensor:
        first = self.first.init()
        self._cut = len(first)
        return torch.cat([first, self.second.init().to(first)])

    def sizes(self) -> tuple[int, ...]:
        return self.first.sizes() + self.second.sizes()

    def batch(self, step: int) -> tuple[Any, Any]:
        return self.first.batch(step), self.second.batch(step)

    def loss(self, weights: Tensor, batch: tuple[Any, Any]) -> Tensor:
        parts = self._parts(weights)
        return self.first.loss(parts[0], batch[0]) + self.second.loss(parts[1], batch[1])

    def training_score(self, weights: Tensor) -> Score:
        parts = self._parts(weights)
        return _sum(self.first.training_score(parts[0]), self.second.training_score(parts[1]))

    def held_out_score(self, weights: Tensor) -> Score:
        parts = self._parts(weights)
        return _sum(self.first.held_out_score(parts[0]), self.second.held_out_score(parts[1]))

    def _parts(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        if self._cut is None:
            self._cut = len(self.first.init())
        return weights[: self._cut], weights[self._cut :]


def _sum(first: Score, second: Score) -> Score:
    return Score(first.loss + second.loss.to(first.loss), first.accuracy)
