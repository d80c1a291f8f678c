"""How fast learning on features is: `python -m benchmarks.speed sib`, and getting them: `… speed extraction`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fewshot.backbones.features import BATCH, extract
from fewshot.backbones.file import BackboneInfo
from fewshot.backbones.view import View, read_images
from fewshot.data.episodes import Episode
from fewshot.data.store import Dataset, writing
from fewshot.engine.evaluate import count_correct
from fewshot.engine.few_shot import MetaTrainer, TrainingOptions
from fewshot.learners import METHODS
from fewshot.learners.sib import SIBOptions
from fewshot.nets.backbone import build_backbone
from fewshot.nets.blocks import channels_last
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions


@dataclass(frozen=True)
class SIBSpeed:
    """Time SIB on random features, 5 ways and 15 queries: meta-training plain and smooth, and evaluation, in turn."""

    features: int = 640
    """Numbers a feature vector has."""
    shot: int = 1
    """Support images a class."""
    steps: int = 3
    """K, synthetic gradient steps."""
    episodes: int = 100
    """Episodes of each in a round."""
    rounds: int = 7
    """Rounds; the median is shown."""
    threads: int = 0
    """Threads of torch; 0 leaves the default."""


@dataclass(frozen=True)
class ExtractionSpeed:
    """Time the features of a synthetic dataset against the bare forward pass of the same network, in turn."""

    backbone: str = "wrn_28_10"
    """Network."""
    size: int = 32
    """Height and width of the images; three channels."""
    images: int = 256
    """Images of the dataset."""
    rounds: int = 3
    """Rounds; the median is shown."""
    threads: int = 0
    """Threads of torch; 0 leaves the default."""


class _Silent:
    """Watches and says nothing."""

    def step(self, episode: int, scalars: dict[str, float]) -> None: ...

    def validated(self, episode: int, accuracy: float, best: bool) -> None: ...


def random_episodes(command: SIBSpeed) -> list[Episode]:
    """Episodes of positive random features."""
    generator, nothing = torch.Generator().manual_seed(0), np.zeros(0, dtype=np.int64)

    def features(count: int) -> torch.Tensor:
        return torch.rand(5 * count, command.features, generator=generator)

    labels = torch.arange(5)
    return [
        Episode(features(command.shot), labels.repeat(command.shot), features(15), labels.repeat(15), *[nothing] * 3)
        for _ in range(command.episodes)
    ]


def sib_actions(command: SIBSpeed, episodes: list[Episode]) -> dict[str, Callable[[], object]]:
    """What is timed, by name; each goes through all episodes once."""
    options = SIBOptions(steps=command.steps)
    training = TrainingOptions(
        episodes=len(episodes), optimizer="sgd", weight_decay=5e-4, clip="none", validate_every=len(episodes)
    )

    def trained(regularizer: Regularizer) -> Callable[[], object]:
        learner = METHODS["sib"].build(command.features, 1, 5, options, regularizer, torch.Generator().manual_seed(0))

        def run() -> object:
            trainer = MetaTrainer(
                learner, regularizer, training, 0, lambda i: episodes[i], lambda _: np.ones(1), {}, None
            )
            return trainer.run(_Silent())

        return run

    tested = METHODS["sib"].build(command.features, 1, 5, options, Regularizer(), torch.Generator().manual_seed(0))
    return {
        "meta-training, plain": trained(Regularizer()),
        "meta-training, smooth": trained(Smoothness(SmoothOptions(weight=0.01, radius=0.1))),
        "evaluation": lambda: count_correct(tested, episodes),
    }


def measure_sib(command: SIBSpeed) -> pd.DataFrame:
    """Episodes per second of each, and its time as a multiple of plain meta-training's."""
    if command.threads:
        torch.set_num_threads(command.threads)
    seconds = in_turn(sib_actions(command, random_episodes(command)), command.rounds)
    plain = next(iter(seconds.values()))
    return pd.DataFrame(
        {
            "SIB": name,
            "episodes/s": command.episodes / statistics.median(mine),
            "time, of plain": statistics.median(a / b for a, b in zip(mine, plain, strict=True)),
        }
        for name, mine in seconds.items()
    )


def in_turn(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every action in every round; all take turns, after a round that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for round_ in range(rounds + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            if round_:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def measure_extraction(command: ExtractionSpeed) -> pd.DataFrame:
    """Images per second of feature extraction from a file, and of the bare forward pass on batches in memory."""
    if command.threads:
        torch.set_num_threads(command.threads)
    with tempfile.TemporaryDirectory() as folder:
        dataset = _synthetic(Path(folder) / "speed.h5", command)
        split, view = dataset["train"], View.of(dataset)
        net = build_backbone(command.backbone, 3, command.size, torch.Generator().manual_seed(0))
        net = channels_last(net).eval().requires_grad_(False)
        augment = view.augment(0, flip=False, jitter=0.0)
        info = BackboneInfo(command.backbone, dataset.name, dataset.fingerprint, view, augment, "speed")
        batches = [view(read_images(split, rows, "cpu")) for rows in _rows(command.images)]

        @torch.inference_mode()
        def bare() -> object:
            return [net(batch) for batch in batches]

        actions = {"bare forward pass": bare, "extraction": lambda: list(extract(net, info, split, 0))}
        seconds = in_turn(actions, command.rounds)
    plain = seconds["bare forward pass"]
    return pd.DataFrame(
        {
            command.backbone: name,
            "images/s": command.images / statistics.median(mine),
            "time, of bare": statistics.median(a / b for a, b in zip(mine, plain, strict=True)),
        }
        for name, mine in seconds.items()
    )


def _rows(count: int) -> list[np.ndarray]:
    return np.split(np.arange(count), range(BATCH, count, BATCH))


def _synthetic(path: Path, command: ExtractionSpeed) -> Dataset:
    generator = np.random.Generator(np.random.Philox(0))
    shape = (command.size, command.size, 3)
    with writing(path, "speed", [], "none") as writer:
        writer.add_split("train", {"0": command.images}, shape)
        images = generator.integers(0, 256, (command.images, *shape), dtype=np.uint8)
        writer.write("train", 0, images, [str(i) for i in range(command.images)])
    return Dataset.open(path)
