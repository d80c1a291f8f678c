"""What a backbone sees of a dataset's images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fewshot.data.augment import Augment
from fewshot.data.catalog import CATALOG
from fewshot.data.preprocess import normalize, to_unit
from fewshot.data.store import Dataset, Split
from fewshot.errors import InputError


@dataclass(frozen=True)
class View:
    """The centre of an image, scaled and normalized."""

    image_size: int
    """H = W of the dataset's images, in pixels."""
    crop: int
    """H = W of the centre that is kept."""
    channels: int
    mean: tuple[float, ...] | None = None
    """Per channel, of pixels in [0, 1]; None leaves them in [0, 1]."""
    std: tuple[float, ...] | None = None

    @classmethod
    def of(cls, dataset: Dataset, crop: int | None = None) -> View:
        """The view of a dataset with its published normalization, if there is one; `crop` None keeps all pixels.

        Raises:
            InputError: where images are not square, or smaller than `crop`.
        """
        _, height, width, channels = dataset["train"].shape
        if height != width:
            raise InputError(f"images of {dataset.name} are {height}×{width}; backbones need square ones")
        if crop is not None and not 1 <= crop <= height:
            raise InputError(f"crop {crop}: images of {dataset.name} have {height} pixels; choose at most that many")
        entry = CATALOG.get(dataset.name)
        mean, std = (entry.mean, entry.std) if entry else (None, None)
        return cls(height, crop or height, channels, mean, std)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8, or float in [0, 1], [B, C, image_size, image_size] -> float [B, C, crop, crop]."""
        start = (self.image_size - self.crop) // 2
        kept = slice(start, start + self.crop)
        return normalize(to_unit(images[:, :, kept, kept]), self.mean, self.std)

    def augment(self, pad: int, flip: bool, jitter: float) -> Augment:
        """Augmentation ahead of this view: shifted crops, mirror images, colour.

        Args:
            pad: a crop may begin so many pixels outside of the image; black is what lies there.
            flip: mirror every other image.
            jitter: strength of the changes of brightness, contrast and saturation.
        """
        # The centre of a full-size crop from an image padded by `pad` and the margin: any `crop` pixels of it.
        margin = (self.image_size - self.crop) // 2
        return Augment(
            scale=None,
            pad=pad + margin,
            flip=0.5 if flip else 0.0,
            brightness=jitter,
            contrast=jitter,
            saturation=jitter,
            hue=0.0,
        )

    def check(self, dataset: Dataset) -> None:
        """Refuse a dataset of other images.

        Raises:
            InputError: naming both sizes.
        """
        for split in dataset.splits.values():
            shape, wanted = split.shape[1:], (self.image_size, self.image_size, self.channels)
            if shape != wanted:
                raise InputError(
                    f"the backbone was trained on images of {_size(wanted)}, those of {dataset.name} are"
                    f" {_size(shape)}; pre-train one on them"
                )


def read_images(split: Split, rows: np.ndarray, device: torch.device | str) -> Tensor:
    """Images of a split, uint8 [len(rows), C, H, W] in channels-last memory order, on `device`."""
    return torch.from_numpy(split.read(rows)).to(device).permute(0, 3, 1, 2)


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[:2])) + (" in gray" if shape[2] == 1 else f" in {shape[2]} channels")
