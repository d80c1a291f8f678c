"""Accuracy of a learner on fixed episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from fewshot.data.episodes import Episode
from fewshot.learners.base import Prediction


@torch.no_grad()
def count_correct(
    learner: torch.nn.Module, episodes: Iterable[Episode], advance: Callable[[], None] = lambda: None
) -> np.ndarray:
    """Correctly classified queries of every episode, int64 [episodes].

    Args:
        learner: a `Learner`; evaluated in eval mode and left in the mode it was in.
        episodes: already on the learner's device, as the learner wants its images.
        advance: called after each episode, for a progress bar.

    Raises:
        FloatingPointError: where a logit is not finite; it names the episode.
    """
    was_training = learner.training
    learner.eval()
    try:
        return np.array(
            [_correct(learner(episode), episode, i, advance) for i, episode in enumerate(episodes)], dtype=np.int64
        )
    finally:
        learner.train(was_training)


def _correct(prediction: Prediction, episode: Episode, index: int, advance: Callable[[], None]) -> int:
    if not torch.isfinite(prediction.logits).all():
        raise FloatingPointError(f"non-finite logits in evaluation episode {index}")
    advance()
    return int((prediction.logits.argmax(dim=1) == episode.query_y).sum())
