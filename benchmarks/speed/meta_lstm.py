"""Seconds of a meta-training episode of Meta-LSTM, plain and smoothed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from benchmarks.few_shot.config import FewShotConfig
from benchmarks.few_shot.presets import preset
from fewshot.data.episodes import Episode
from fewshot.learners import METHODS
from fewshot.regularizers import Regularizer, Smoothness


@dataclass(frozen=True)
class MetaLSTMSpeed:
    """Time one meta-training episode of Meta-LSTM: plain, with the exact maximum, and with PGD, in turn."""

    size: int = 84
    """Height and width of the images."""
    channels: int = 3
    """Colours of the images."""
    shot: int = 1
    """Support images a class; 5 ways, 15 queries."""
    preset: str = "authors_code"
    """Preset that supplies the inner loop's settings."""
    rounds: int = 9
    """Episodes timed of each; the median is shown."""
    threads: int = 0
    """Threads of torch; 0 leaves the default."""


def measure_meta_lstm(command: MetaLSTMSpeed) -> pd.DataFrame:
    """Seconds of an episode, and what smoothing adds, as medians over rounds in which all take turns."""
    if command.threads:
        torch.set_num_threads(command.threads)
    config = preset(command.preset, FewShotConfig(dataset="mini_imagenet", shot=command.shot))
    episode = _random_episode(command)
    regularizers = {
        "plain": Regularizer(),
        "smooth, exact": Smoothness(),
        "smooth, pgd": Smoothness(Smoothness.Options(maximum="pgd")),
    }
    steps = {name: _meta_step(command, config, regularizer, episode) for name, regularizer in regularizers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(command.rounds + 1):
        for name, step in steps.items():
            elapsed = _elapsed(step)
            if round_:  # the first warms up
                seconds[name].append(elapsed)
    plain = seconds["plain"]
    return pd.DataFrame(
        {
            "episode": name,
            "seconds": statistics.median(mine),
            "more than plain": statistics.median(a / b for a, b in zip(mine, plain, strict=True)) - 1,
        }
        for name, mine in seconds.items()
    )


def _random_episode(command: MetaLSTMSpeed) -> Episode:
    generator = torch.Generator().manual_seed(0)

    def images(count: int) -> torch.Tensor:
        shape = (5 * count, command.size, command.size, command.channels)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)

    labels, nothing = torch.arange(5), np.zeros(0, dtype=np.int64)
    return Episode(
        images(command.shot), labels.repeat(command.shot), images(15), labels.repeat(15), nothing, nothing, nothing
    )


def _meta_step(
    command: MetaLSTMSpeed, config: FewShotConfig, regularizer: Regularizer, episode: Episode
) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    learner = METHODS["meta_lstm"].build(command.channels, command.size, 5, config.learner, regularizer, generator)
    adam = torch.optim.Adam(learner.parameters(), config.training.meta_rate)

    def step() -> None:
        prediction = learner(episode)
        loss = F.cross_entropy(prediction.logits, episode.query_y) + prediction.penalty
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 0.25)
        adam.step()

    return step


def _elapsed(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
