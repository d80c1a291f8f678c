"""A prepared split as a learn2learn task set, for code that was written for that library.

learn2learn (Arnold et al. 2020) draws tasks with Python's global `random`: seed that for the same tasks again. Its
tasks have the distribution of `EpisodeSampler`'s; which tasks come, and in what order, differs.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from fewshot.data.episodes import EpisodeSampler
from fewshot.data.store import Split
from fewshot.errors import InputError

if TYPE_CHECKING:
    from learn2learn.data import MetaDataset, TaskDataset  # pyright: ignore[reportAttributeAccessIssue]


class SplitImages(TorchDataset):
    """The images of a split one by one, as torch and learn2learn want them.

    `dataset[row]` is (image, class): float32 [C, H, W] in [0, 1], and the class's number in the split.
    """

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return int(self.split.class_offsets[-1])

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(self.split.read(np.array([row]))[0]).permute(2, 0, 1)
        label = int(self.split.class_offsets.searchsorted(row, side="right")) - 1
        return image.float() / 255, label


def meta_dataset(split: Split) -> MetaDataset:
    """A split as learn2learn's `MetaDataset`, indexed without reading its images.

    Raises:
        InputError: where learn2learn is not installed.
    """
    offsets = split.class_offsets.tolist()
    classes = enumerate(itertools.pairwise(offsets))
    rows = {label: list(range(start, stop)) for label, (start, stop) in classes}
    return learn2learn().data.MetaDataset(SplitImages(split), labels_to_indices=rows)


def task_dataset(split: Split, way: int, shot: int, query: int, tasks: int = -1) -> TaskDataset:
    """N-way tasks of K support and Q query images a class as learn2learn's `TaskDataset`.

    A task is (images, labels): float32 [N*(K+Q), C, H, W] in [0, 1], and int64 labels 0..N-1, each on K+Q images in a
    row. `learn2learn.data.partition_task(images, labels, shots=K)` divides it.

    Args:
        split: where images come from.
        way: classes in a task (N).
        shot: support images a class (K).
        query: query images a class (Q).
        tasks: how many different tasks there are; -1 for no end of them.

    Raises:
        InputError: where the split is too small for such tasks, or learn2learn is not installed.
    """
    EpisodeSampler(split, way, shot, query)  # checks the sizes
    if tasks != -1 and tasks < 1:
        raise InputError(f"tasks {tasks} is out of range; give a number from 1 up, or -1 for no end of them")
    images, library = meta_dataset(split), learn2learn().data
    steps = library.transforms
    return library.TaskDataset(
        images,
        [
            steps.FusedNWaysKShots(images, n=way, k=shot + query),
            steps.LoadData(images),
            steps.RemapLabels(images),
            steps.ConsecutiveLabels(images),
        ],
        num_tasks=tasks,
    )


def learn2learn() -> Any:
    """The package of that name.

    Raises:
        InputError: where it is not installed, naming the remedy.
    """
    import fewshot.vision  # noqa: F401  # makes torchvision importable, which learn2learn imports

    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # its imports are talkative
            warnings.simplefilter("ignore")
            return importlib.import_module("learn2learn")
    except ImportError as error:
        raise InputError(f"learn2learn cannot be imported ({error}); install it with `make setup`") from error
