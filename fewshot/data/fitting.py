"""Any images as the size and channels that a network takes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fewshot.data.preprocess import to_unit
from fewshot.errors import InputError

_LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as Pillow and `data_prep` make grey of colour."""


def fit(images: Tensor, size: int, channels: int) -> Tensor:
    """Bring images to a size and number of channels; those that have them are only scaled to [0, 1].

    Colour becomes grey by its luminance (ITU-R BT.601), grey becomes colour in three equal channels. The whole image is
    resized, whatever its aspect, with the antialiased bilinear filter that `data_prep` uses by default. Contrast stays
    as it is: dark strokes on white do not become white strokes on black.

    Args:
        images: uint8, or float in [0, 1], [n, 1 or 3, H, W].
        size: H = W of the result in pixels.
        channels: 1 or 3.

    Returns:
        float [n, channels, size, size] in [0, 1].

    Raises:
        InputError: where the number of channels is not one of these.
    """
    given = images.shape[1]
    if given != channels and {given, channels} != {1, 3}:
        raise InputError(f"images have {given} channels, {channels} are wanted; give images in grey (1) or RGB (3)")
    images = to_unit(images)
    if channels < given:
        images = (images * images.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    if tuple(images.shape[-2:]) != (size, size):
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return images.expand(-1, channels, -1, -1) if channels > given else images
