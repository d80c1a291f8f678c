"""What a learner is: episode in, query logits and accumulated penalty out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from fewshot.data.episodes import Episode


TOGETHER = 8
"""Episodes that evaluation gives at once to a learner that can take several: few enough for a processor's cache."""


@dataclass(frozen=True)
class Prediction:
    """What a learner makes of one episode."""

    logits: Tensor
    """Of the queries, [N * Q, N]."""
    penalty: Tensor
    """What the regularizer adds to the mean loss of the queries, λ R as `episode_penalty` gives it: a scalar."""
    diagnostics: dict[str, Tensor] = field(default_factory=dict)
    """Scalars over the inner steps by name, each [T]; for plots only."""


class Learner(Protocol):
    """Learns from an episode's support and predicts its queries. Nothing is carried from one episode to the next."""

    transductive: bool
    """Whether a query's prediction depends on the other queries in evaluation; tables mark such rows with a T."""
    # A learner that has `precision: Precision = "fp32"` computes its network in whatever is set there.

    def __call__(self, episode: Episode) -> Prediction: ...


def is_batched(learner: object) -> bool:
    """Whether a learner also takes episodes stacked by `fewshot.data.episodes.stack`: it says so by `batched = True`.

    Its logits then have the same leading axis, and its penalty is the mean of theirs.
    """
    return bool(getattr(learner, "batched", False))


def episodes_at_once(learner: object) -> int:
    """How many episodes evaluation gives a learner at a time: `TOGETHER`, or its own `at_once`; 1 if not batched."""
    return getattr(learner, "at_once", TOGETHER) if is_batched(learner) else 1
