"""SIB: class weights that follow synthetic gradients of the unlabelled queries' scores, on frozen features.

Shell Xu Hu et al., "Empirical Bayes Transductive Meta-Learning with Synthetic Gradients", ICLR 2020, Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.errors import InputError
from fewshot.learners.base import Prediction
from fewshot.learners.features import FeatureOptions
from fewshot.learners.prototypes import CosineScores, class_means
from fewshot.optimizers.core import Hidden, NeuralOptimizer, Response, Step
from fewshot.optimizers.synthetic_gradient import SyntheticGradient
from fewshot.regularizers.base import Regularizer
from fewshot.regularizers.penalty import episode_penalty, step_penalty

if TYPE_CHECKING:
    from fewshot.data.episodes import Episode

THETA = "theta"
"""The value of `penalty.columns` that perturbs the class weights instead of the scores."""


@dataclass(frozen=True)
class SIBOptions(FeatureOptions):
    """Options of SIB; the defaults are Hu et al.'s."""

    steps: int = 3
    """K, synthetic gradient steps; 0 leaves the nearest centroid with a learned diagonal."""
    rate: float = 1e-3
    """η, learning rate of those steps (the authors' code uses the outer loop's for it)."""
    width: int = 8
    """Hidden units of the synthetic gradient network, in multiples of the number of classes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("steps", 0), ("width", 1)):
            if getattr(self, name) < low:
                raise InputError(f"learner.{name} is {getattr(self, name)}; it must be at least {low}")
        if not 0 < self.rate < float("inf"):
            raise InputError(f"learner.rate is {self.rate}; it must be positive and finite")


class SIBLearner(nn.Module):
    """θ⁰ is a learned diagonal times the class means; K times θ ← θ - η (∂z/∂θ)ᵀ φ(z) on the queries' scores z.

    Gradients flow through all K steps. Tensors of an episode may have a leading axis: a batch of episodes, of which
    each has its own statistics.
    """

    batched = True

    def __init__(self, features: int, core: SyntheticGradient, regularizer: Regularizer, options: SIBOptions) -> None:
        """Put the parts together.

        Args:
            features: D, their number.
            core: φ; it decides the number of classes.
            regularizer: attached to `core` here, or to φ as a function of θ where its columns are "theta".
            options: see `SIBOptions`.
        """
        super().__init__()
        self.options, self.regularizer, self.way = options, regularizer, core.state_size
        self.diagonal = nn.Parameter(torch.ones(features))
        self.scores = CosineScores()
        self._in_theta = getattr(regularizer.options, "columns", None) == THETA
        self.core = regularizer.attach(ThetaSpace(core, self.scores, features) if self._in_theta else core)

    @property
    def transductive(self) -> bool:
        return self.options.steps > 0

    def forward(self, episode: Episode) -> Prediction:
        with self.core.unroll():
            return self._unroll(episode)

    def _unroll(self, episode: Episode) -> Prediction:
        query = F.normalize(episode.query_x, dim=-1)
        theta = self.diagonal * class_means(episode.support_x, episode.support_y, self.way)
        steps = []
        for _ in range(self.options.steps):
            state, hidden = self._observe(query, theta)
            steps.append(Step(state, hidden, *self.core(state, hidden)))
            theta = theta - self.options.rate * self.scores.pull(query, theta, steps[-1].update)
        return Prediction(self.scores(query, theta), self._penalty(steps, episodes=math.prod(query.shape[:-2])))

    def _observe(self, query: Tensor, theta: Tensor) -> tuple[Tensor, Hidden]:
        return (theta, (query,)) if self._in_theta else (self.scores(query, theta), ())

    def _penalty(self, steps: list[Step], episodes: int) -> Tensor:
        """What `inner_step` would have summed up, of all steps at once: no step waits for the penalty of another."""
        penalties = []
        if steps:
            hidden = tuple(map(_as_groups, zip(*(step.hidden for step in steps), strict=True)))
            state, update = (_as_groups([getattr(step, name) for step in steps]) for name in ("state", "update"))
            penalties.append(step_penalty(self.core, self.regularizer, Step(state, hidden, update, hidden)))
        return episode_penalty(self.core, self.regularizer, penalties, episodes)


def _as_groups(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor a step, each [..., rows, C], as one tensor [groups, rows, C]."""
    return torch.stack(list(tensors)).flatten(0, -3)


class ThetaSpace(NeuralOptimizer):
    """φ(z(θ)) as an optimizer whose state is θ, one row a class, so that regularizers can perturb θ.

    The memory is the normalized query features [..., Q, D], which the caller supplies and which never change. Updates
    are those of φ, one row a query.
    """

    smooth_columns = THETA
    independent_rows = False

    def __init__(self, core: SyntheticGradient, scores: CosineScores, features: int) -> None:
        super().__init__()
        self.core, self.scores = core, scores
        self.state_size = features
        self.columns = {THETA: slice(0, features)}

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        return self.core(self.scores(hidden[0], state), ())[0], hidden

    def response(self, step: Step, columns: slice) -> Response:
        return _Theta(self, step)


class _Theta(Response):
    """The chain of two closed-form derivatives: of φ, and of the scores."""

    def __init__(self, space: ThetaSpace, step: Step) -> None:
        super().__init__(lambda theta: space(theta, step.hidden)[0])
        self._scores, self._directions = space.scores, step.hidden[0]
        scores = self._scores(self._directions, step.state)
        inner = Step(scores, (), step.update, ())
        self._inner = space.core.response(inner, slice(0, space.core.state_size))

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        with torch.no_grad():
            update, pull = self._inner.vjp(self._scores(self._directions, values))
        return update, lambda u: self._scores.pull(self._directions, values, pull(u)).detach()


def build(
    channels: int, image_size: int, way: int, options: SIBOptions, regularizer: Regularizer, generator: torch.Generator
) -> SIBLearner:
    """A fresh SIB learner for `channels` features."""
    return SIBLearner(channels, SyntheticGradient(generator, way, options.width), regularizer, options)
