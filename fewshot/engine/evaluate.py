"""Accuracy of a learner on fixed episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import torch

from fewshot.data.episodes import Episode, stack
from fewshot.learners.base import episodes_at_once


@torch.no_grad()
def count_correct(
    learner: torch.nn.Module, episodes: Iterable[Episode], advance: Callable[[], None] = lambda: None
) -> np.ndarray:
    """Correctly classified queries of every episode, int64 [episodes].

    Args:
        learner: a `Learner`; evaluated in eval mode and left in the mode it was in. It gets as many episodes at a time
            as `episodes_at_once` says.
        episodes: already on the learner's device, as the learner wants its images; of equal sizes.
        advance: called after each episode, for a progress bar.

    Raises:
        FloatingPointError: where a logit is not finite; it names the episode.
    """
    was_training = learner.training
    learner.eval()
    counts: list[int] = []
    remaining = iter(episodes)
    try:
        while group := list(islice(remaining, episodes_at_once(learner))):
            counts += _correct(learner, group, len(counts))
            for _ in group:
                advance()
    finally:
        learner.train(was_training)
    return np.array(counts, dtype=np.int64)


def _correct(learner: torch.nn.Module, episodes: list[Episode], first: int) -> list[int]:
    """Of episodes that are computed together; `first` is the number of the first."""
    episode = stack(episodes) if episodes_at_once(learner) > 1 else episodes[0]
    logits = learner(episode).logits.view(len(episodes), *episode.query_y.shape[-1:], -1)
    finite = torch.isfinite(logits).flatten(1).all(dim=1)
    if not finite.all():
        raise FloatingPointError(f"non-finite logits in evaluation episode {first + finite.tolist().index(False)}")
    return (logits.argmax(dim=-1) == episode.query_y).view(len(episodes), -1).sum(dim=1).tolist()
