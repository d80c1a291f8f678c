"""Training batches of images that depend on the seed and the step alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fewshot.backbones.distributed import World
from fewshot.backbones.view import View, read_images
from fewshot.data.augment import Augment, Draw
from fewshot.data.store import Split
from fewshot.errors import InputError
from fewshot.seeding import derive


class Batches:
    """This process's share of every training batch: a function of the seed and the step."""

    def __init__(
        self, split: Split, view: View, augment: Augment, batch_size: int, seed: int, device: torch.device, world: World
    ) -> None:
        """Check that there are batches.

        Raises:
            InputError: where a batch is larger than the split, or cannot be shared out evenly.
        """
        if batch_size > split.shape[0]:
            raise InputError(
                f"training.batch-size {batch_size}: split {split.name!r} has only {split.shape[0]} images; lower it"
            )
        if batch_size % world.size:
            raise InputError(
                f"training.batch-size {batch_size} cannot be shared by {world.size} processes; choose a multiple"
            )
        self.split, self.view, self.augment, self.batch_size = split, view, augment, batch_size
        self.seed, self.device, self.share = seed, device, world.share(batch_size)
        self.steps_per_epoch = split.shape[0] // batch_size
        self._labels = torch.arange(len(split.class_sizes)).repeat_interleave(torch.from_numpy(split.class_sizes))
        self._order = (-1, np.zeros(0, dtype=np.int64))

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images, augmented and normalized, float [b, C, H, W], and their classes, int64 [b]."""
        epoch, place = divmod(step, self.steps_per_epoch)
        rows = self._rows(epoch)[place * self.batch_size : (place + 1) * self.batch_size]
        _, height, width, channels = self.split.shape
        shape = torch.Size((self.batch_size, channels, height, width))
        draw = _part(self.augment.draw(shape, self._generator("augment", step)), self.share)
        own = rows[self.share]
        images = self.augment.apply(read_images(self.split, own, self.device), draw)
        return self.view(images), self._labels[own].to(self.device)

    def _rows(self, epoch: int) -> np.ndarray:
        """All rows of the split in the order of an epoch."""
        if self._order[0] != epoch:
            order = torch.randperm(self.split.shape[0], generator=self._generator("order", epoch))
            self._order = epoch, order.numpy()
        return self._order[1]

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, purpose, number))


def _part(draw: Draw, share: slice) -> Draw:
    return replace(draw, boxes=draw.boxes[share], flipped=draw.flipped[share], factors=draw.factors[:, share])
