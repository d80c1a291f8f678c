"""How fast the suite is here: `python -m benchmarks.speed MEASUREMENT`, such as sampling, meta-lstm, sib or report."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import tyro

from benchmarks.few_shot.config import RunConfig
from benchmarks.few_shot.presets import preset
from benchmarks.speed.general import UnrollSpeed, measure_unroll
from benchmarks.speed.optimizers import Cores, DropIn, measure_cores, measure_drop_in
from benchmarks.speed.report import ReportSpeed, measure_report
from benchmarks.speed.sib import ExtractionSpeed, SIBSpeed, measure_extraction, measure_sib
from fewshot.console import run_command
from fewshot.data.episodes import Episode, EpisodeSampler
from fewshot.data.interchange import learn2learn
from fewshot.data.store import Dataset, Split, writing
from fewshot.learners import METHODS
from fewshot.regularizers import PenaltyOptions, Regularizer, Smoothness


@dataclass(frozen=True)
class Sampling:
    """Draw 5-way tasks of 20 images a class from a synthetic dataset file, on one thread; report resident memory."""

    classes: int = 64
    """Classes of the file."""
    images: int = 600
    """Images of each class."""
    size: int = 84
    """Height and width; three channels."""
    tasks: int = 1000
    """Tasks drawn."""
    learn2learn: int = 60
    """Tasks drawn by learn2learn's TaskDataset from the same images in memory; 0 leaves it out."""
    folder: Path | None = None
    """Where the synthetic file is written and removed again; default: the system's temporary folder."""


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


def measure_sampling(command: Sampling) -> pd.DataFrame:
    """Tasks per second and resident memory, a line for us and one for learn2learn."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=command.folder) as folder:
        split = _synthetic(Path(folder) / "speed.h5", command)
        sampler = EpisodeSampler(split, 5, 5, 15, seed=0)
        sampler[0]
        before = peak = _resident()
        started = time.perf_counter()
        for index in range(command.tasks):
            sampler[index]
            if index % 7 == 0:
                peak = max(peak, _resident())
        ours = command.tasks / (time.perf_counter() - started)
        grown, size = peak - before, np.prod(split.shape) / 2**20
        lines = [{"sampler": "ours", "tasks/s": ours, "file (MiB)": size, "resident memory grew by (MiB)": grown}]
        if command.learn2learn:
            theirs = _learn2learn_rate(split, command.learn2learn)
            lines.append({"sampler": "learn2learn TaskDataset", "tasks/s": theirs, "ratio": ours / theirs})
    return pd.DataFrame(lines)


def _synthetic(path: Path, command: Sampling) -> Split:
    """Write random images, class after class, so that any size needs little memory."""
    generator = np.random.Generator(np.random.Philox(0))
    shape = (command.images, command.size, command.size, 3)
    with writing(path, "speed", [], "none") as writer:
        writer.add_split("train", {str(c): command.images for c in range(command.classes)}, shape[1:])
        for c in range(command.classes):
            images = generator.integers(0, 256, shape, dtype=np.uint8)
            writer.write("train", c * command.images, images, [f"{c}/{i}" for i in range(command.images)])
    return Dataset.open(path)["train"]


def _resident() -> float:
    """Resident memory of this process in MiB, mapped files included (Linux)."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) / 1024
    except (OSError, KeyError):
        return float("nan")


def _learn2learn_rate(split: Split, tasks: int) -> float:
    """Tasks per second of learn2learn as its users set it up: images in memory, NWays, KShots, LoadData."""
    l2l = learn2learn()
    labels = torch.from_numpy(np.repeat(np.arange(len(split.class_sizes)), split.class_sizes))
    dataset = l2l.data.MetaDataset(torch.utils.data.TensorDataset(torch.from_numpy(split.images.copy()), labels))
    transforms = l2l.data.transforms
    draw = [transforms.NWays(dataset, 5), transforms.KShots(dataset, 20), transforms.LoadData(dataset)]
    taskset = l2l.data.TaskDataset(dataset, draw, num_tasks=-1)
    taskset.sample()
    started = time.perf_counter()
    for _ in range(tasks):
        taskset.sample()
    return tasks / (time.perf_counter() - started)


def measure_meta_lstm(command: MetaLSTMSpeed) -> pd.DataFrame:
    """Seconds of an episode, and what smoothing adds, as medians over rounds in which all take turns."""
    if command.threads:
        torch.set_num_threads(command.threads)
    config = preset(command.preset, RunConfig(dataset="mini_imagenet", shot=command.shot))
    episode = _random_episode(command)
    regularizers = {
        "plain": Regularizer(),
        "smooth, exact": Smoothness(),
        "smooth, pgd": Smoothness(PenaltyOptions(maximum="pgd")),
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
    command: MetaLSTMSpeed, config: RunConfig, regularizer: Regularizer, episode: Episode
) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    learner = METHODS["meta_lstm"].build(command.channels, command.size, 5, config.learner, regularizer, generator)
    adam = torch.optim.Adam(learner.parameters(), config.training.meta_rate)

    def step() -> None:
        prediction = learner(episode)
        loss = F.cross_entropy(prediction.logits, episode.query_y) + regularizer.weight * prediction.penalty
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 0.25)
        adam.step()

    return step


def _elapsed(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


MEASUREMENTS: dict[type, Callable[[Any], pd.DataFrame]] = {
    Sampling: measure_sampling,
    MetaLSTMSpeed: measure_meta_lstm,
    SIBSpeed: measure_sib,
    ExtractionSpeed: measure_extraction,
    UnrollSpeed: measure_unroll,
    Cores: measure_cores,
    DropIn: measure_drop_in,
    ReportSpeed: measure_report,
}
Choice = (
    Annotated[Sampling, tyro.conf.subcommand("sampling")]
    | Annotated[MetaLSTMSpeed, tyro.conf.subcommand("meta-lstm")]
    | Annotated[SIBSpeed, tyro.conf.subcommand("sib")]
    | Annotated[ExtractionSpeed, tyro.conf.subcommand("extraction")]
    | Annotated[UnrollSpeed, tyro.conf.subcommand("unroll")]
    | Annotated[Cores, tyro.conf.subcommand("cores")]
    | Annotated[DropIn, tyro.conf.subcommand("drop-in")]
    | Annotated[ReportSpeed, tyro.conf.subcommand("report")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    command: Any = tyro.cli(Choice, prog="python -m benchmarks.speed", args=arguments)  # pyright: ignore[reportCallIssue, reportArgumentType]
    frame = MEASUREMENTS[type(command)](command)
    print(frame.astype(object).where(frame.notna(), "").to_markdown(index=False, floatfmt=".4g"))


if __name__ == "__main__":
    run_command(main)
