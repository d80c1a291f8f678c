"""Episodes: N-way K-shot classification problems drawn from a split, the same on every machine.

(seed, index) decides an episode completely. Every episode has its own Philox stream (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", 2011) keyed by that pair, so episodes may be drawn in any order and by any process. Only
the raw 64-bit stream is used, which numpy keeps stable between versions.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewshot.data.store import Split
from fewshot.errors import InputError

_COLUMN = np.uint64((1 << 20) - 1)
_LAST = (1 << 64) - 1


@dataclass(frozen=True)
class Episode:
    """One few-shot problem: learn from the support images, answer for the query images.

    Images are ordered shot by shot: labels run 0..N-1 and start again, so every consecutive block of N images holds
    each class once (methods that take mini-batches of the support rely on it).

    Attributes:
        support_x: uint8 [N*K, C, H, W] in channels-last memory order; float32 [N*K, D] where the split holds features.
        support_y: int64 [N*K], labels 0..N-1.
        query_x: uint8 [N*Q, C, H, W], or float32 [N*Q, D], likewise.
        query_y: int64 [N*Q], labels 0..N-1.
        classes: int64 [N], the class of the split behind each label.
        support_index: int64 [N*K], rows of the split.
        query_index: int64 [N*Q], rows of the split.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    classes: np.ndarray
    support_index: np.ndarray
    query_index: np.ndarray

    def to(self, device: torch.device | str) -> Episode:
        """The same episode with images and labels on `device`."""
        return replace(
            self,
            support_x=self.support_x.to(device),
            support_y=self.support_y.to(device),
            query_x=self.query_x.to(device),
            query_y=self.query_y.to(device),
        )


def stack(episodes: Sequence[Episode]) -> Episode:
    """Episodes of equal sizes as one whose tensors and arrays have a leading axis, one entry an episode."""
    values: dict[str, list[Any]] = {f.name: [getattr(e, f.name) for e in episodes] for f in fields(Episode)}
    stacked: dict[str, Any] = {n: (torch if isinstance(v[0], Tensor) else np).stack(v) for n, v in values.items()}
    return Episode(**stacked)


class EpisodeSampler:
    """An endless sequence of episodes of one split: `sampler[index]`, in any order, for 0 <= index < 2^64.

    Classes, and images within a class, are drawn uniformly without repetition; support and query never share an
    image. An episode's support and query grow by appending: with the same seed and index, fewer ways or shots are a
    prefix of more. Cheap to pickle: worker processes map the same file.

    Args:
        split: where images come from.
        way: classes in an episode (N), at least 2.
        shot: support images a class (K).
        query: query images a class (Q).
        seed: 0 <= seed < 2^64; other seeds give independent episodes.

    Raises:
        InputError: where a size is out of range or the split is too small for it.
    """

    def __init__(self, split: Split, way: int, shot: int, query: int, seed: int = 0) -> None:
        self.split = split
        self.way = whole_number("way", way, 2)
        self.shot = whole_number("shot", shot, 1)
        self.query = whole_number("query", query, 1)
        self.seed = whole_number("seed", seed, 0)
        self._check_split()

    def indices(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Which images make up an episode, without reading them.

        Returns:
            The classes, int64 [N], and their rows of the split, int64 [N, K+Q]: the first K columns are the support.
        """
        return self._rows(self._stream(index))

    def __getitem__(self, index: int) -> Episode:
        stream = self._stream(index)
        classes, rows = self._rows(stream)
        rows = rows.T.ravel()
        images, support = self._images(rows, stream), self.way * self.shot
        labels = torch.arange(self.way)
        return Episode(
            support_x=images[:support],
            support_y=labels.repeat(self.shot),
            query_x=images[support:],
            query_y=labels.repeat(self.query),
            classes=classes,
            support_index=rows[:support],
            query_index=rows[support:],
        )

    def _stream(self, index: int) -> np.random.Philox:
        return np.random.Philox(key=np.array([self.seed, whole_number("episode index", index, 0)], dtype=np.uint64))

    def _rows(self, stream: np.random.Philox) -> tuple[np.ndarray, np.ndarray]:
        sizes = self.split.class_sizes
        classes = _draw(stream, np.array([len(sizes)]), self.way)[0]
        members = _draw(stream, sizes[classes], self.shot + self.query)
        return classes, self.split.class_offsets[classes, None] + members

    def _images(self, rows: np.ndarray, stream: np.random.Philox) -> Tensor:
        values = torch.from_numpy(self._read(rows, stream))
        return values.permute(0, 3, 1, 2) if values.ndim == 4 else values

    def _read(self, rows: np.ndarray, stream: np.random.Philox) -> np.ndarray:
        """Read rows; `stream` is the episode's own, and a subclass may draw from it what else the episode needs."""
        return self.split.read(rows)

    def _check_split(self) -> None:
        split, sizes = self.split, self.split.class_sizes
        if self.way > len(sizes):
            raise InputError(
                f"way {self.way}: split {split.name!r} has only {len(sizes)} classes; choose at most that many, or"
                " prepare your images again with more in it (--val and --test of data_prep.image_folder, with --force)"
            )
        needed, smallest = self.shot + self.query, int(sizes.argmin())
        if needed > sizes[smallest]:
            raise InputError(
                f"shot {self.shot} + query {self.query} need {needed} images a class, but class "
                f"{split.class_names[smallest]!r} of split {split.name!r} has {sizes[smallest]}; lower shot or query,"
                f" or prepare your images again with --min-images {needed} --force, which leaves smaller classes out"
            )
        if sizes.max() > _COLUMN:
            raise InputError(
                f"split {split.name!r} has a class of {sizes.max()} images; at most {_COLUMN} can be sampled"
            )


def _draw(stream: np.random.Philox, sizes: np.ndarray, count: int) -> np.ndarray:
    """Draw `count` of range(size) without repetition, in random order, for each size: int64 [len(sizes), count].

    Each candidate gets a random key whose low bits are its own number: the smallest keys are the draw, and there are
    no ties that a sorting algorithm could break in its own way.
    """
    columns = np.arange(sizes.max(), dtype=np.uint64)
    keys = stream.random_raw(len(sizes) * len(columns)).reshape(len(sizes), len(columns))
    keys = (keys & ~_COLUMN) | columns
    keys[columns >= sizes[:, None]] = _LAST
    keys.partition(count - 1, axis=1)
    return (np.sort(keys[:, :count], axis=1) & _COLUMN).astype(np.int64)


def whole_number(what: str, value: int, smallest: int) -> int:
    """`value` as an int.

    Raises:
        InputError: where it is not a whole number from `smallest` to 2^64 - 1.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{what} {value!r} is not a whole number; choose one from {smallest} up") from None
    if not smallest <= number <= _LAST:
        raise InputError(f"{what} {number} is out of range; choose a whole number from {smallest} to {_LAST}")
    return number
