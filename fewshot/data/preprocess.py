"""From stored bytes to what a network sees: device, augmentation, scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fewshot.data.episodes import Episode

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""uint8 or float images [B, C, H, W] and a generator -> float images in [0, 1]."""


def to_unit(images: Tensor) -> Tensor:
    """uint8 images -> float in [0, 1]; float images (augmented or normalized already) as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def normalize(images: Tensor, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Tensor:
    """Float images [B, C, H, W] minus `mean`, over `std`, both per channel; as they are where either is None."""
    if mean is None or std is None:
        return images
    centre, scale = (images.new_tensor(values)[:, None, None] for values in (mean, std))
    return (images - centre).div_(scale)


@dataclass(frozen=True)
class Preprocess:
    """Makes an episode ready for a learner; images stay uint8 until they are on the device."""

    device: torch.device
    mean: tuple[float, ...] | None = None
    """Per channel, of pixels in [0, 1]; None leaves them in [0, 1]."""
    std: tuple[float, ...] | None = None

    def __call__(self, episode: Episode, augment: Augmentation | None = None, seed: int = 0) -> Episode:
        """Move to the device, augment support and queries if asked (every draw from `seed`), scale, normalize."""
        episode = episode.to(self.device)
        images = episode.support_x, episode.query_x
        if augment is not None:
            generator = torch.Generator(self.device).manual_seed(seed)
            images = tuple(augment(x, generator) for x in images)
        support, query = (normalize(to_unit(x), self.mean, self.std) for x in images)
        return replace(episode, support_x=support, query_x=query)
