"""Labelled examples on the device, in three fixed parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot.data.catalog import CATALOG, open_dataset, pixels_of
from fewshot.data.preprocess import normalize, to_unit
from fewshot.data.store import Split, TokenSplit
from fewshot.seeding import derive

PARTS = ("train", "val", "test")
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Part:
    """Some examples."""

    inputs: Tensor
    """Images, uint8 [n, C, H, W]; or texts, int32 [n, L]."""
    labels: Tensor
    """int64 [n]"""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Part:
        """Some of these examples, by row."""
        return Part(self.inputs[rows], self.labels[rows])

    def of_classes(self, classes: tuple[int, ...]) -> Part:
        """The examples of some classes, labelled by their places in `classes`."""
        places = torch.full((int(self.labels.max()) + 1,), -1, device=self.labels.device)
        places[torch.tensor(classes, device=places.device)] = torch.arange(len(classes), device=places.device)
        labels = places[self.labels]
        rows = (labels >= 0).nonzero()[:, 0]
        return Part(self.inputs[rows], labels[rows])


@dataclass(frozen=True)
class Examples:
    """A dataset in the parts train, val and test; only train is trained on, only test is reported."""

    name: str
    fingerprint: str
    parts: Mapping[str, Part]
    mean: tuple[float, ...] | None = None
    """Per channel, of images in [0, 1]."""
    std: tuple[float, ...] | None = None
    vocabulary: int = 0
    """Numbers that stand for words in texts."""
    pixels: str = ""
    """What prepared images are beside the published ones (`catalog.pixels_of`)."""

    def sizes(self) -> dict[str, int]:
        """Examples per part."""
        return {name: len(part) for name, part in self.parts.items()}

    def view(self, inputs: Tensor) -> Tensor:
        """Images, uint8 or float in [0, 1], or texts -> what networks see."""
        return normalize(to_unit(inputs), self.mean, self.std)


def prepared(name: str, folder: Path, validation: int, device: torch.device) -> Examples:
    """A prepared dataset; a fixed random part of its training split of size `validation` becomes val.

    Raises:
        InputError: where it is not prepared.
    """
    dataset = open_dataset(name, folder, kind=None)
    splits = {}
    for split in ("train", "test"):
        stored = dataset[split]
        labels = np.repeat(np.arange(len(stored.class_sizes)), stored.class_sizes)
        splits[split] = Part(_inputs(stored).to(device), torch.from_numpy(labels).to(device))
    val, train = _cut(splits["train"], validation)
    entry = CATALOG[name]
    parts = {"train": train, "val": val, "test": splits["test"]}
    words = len(dataset.vocabulary())
    pixels = "" if words else pixels_of(dataset)
    return Examples(name, dataset.fingerprint, parts, entry.mean, entry.std, words, pixels)


def _inputs(split: Split) -> Tensor:
    """All examples of a split as a `Part` holds them."""
    values = split.read(np.arange(split.shape[0]))
    if isinstance(split, TokenSplit):
        return torch.from_numpy(values.astype(np.int32))
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()


def digits(device: torch.device) -> Examples:
    """scikit-learn's 1 797 handwritten digits of 8×8 pixels, cut into 1 197, 300 and 300; nothing is downloaded."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = torch.from_numpy((bunch.images * (255 / 16)).round().astype(np.uint8))[:, None].to(device)
    test, rest = _cut(Part(images, torch.from_numpy(bunch.target).long().to(device)), 300)
    val, train = _cut(rest, 300)
    return Examples("digits", "scikit-learn-1797", {"train": train, "val": val, "test": test})


def _cut(part: Part, count: int) -> tuple[Part, Part]:
    """`count` examples chosen by a fixed seed, and the others."""
    generator = torch.Generator().manual_seed(derive(_SPLIT_SEED, "split", len(part)))
    order = torch.randperm(len(part), generator=generator).to(part.labels.device)
    return part.take(order[:count].sort().values), part.take(order[count:].sort().values)
