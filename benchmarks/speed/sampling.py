"""Tasks drawn per second, beside learn2learn."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fewshot.data.episodes import EpisodeSampler
from fewshot.data.interchange import learn2learn
from fewshot.data.store import Dataset, Split, writing


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
