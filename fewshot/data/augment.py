"""Augmentation of whole batches on any device, every image with its own random parameters.

The transforms are torchvision's: RandomResizedCrop or padded RandomCrop, RandomHorizontalFlip and ColorJitter. There,
one set of parameters a call comes from the global generator; here each image of a batch has its own, from a generator
that the caller owns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from fewshot.data.preprocess import to_unit
from fewshot.errors import InputError

_ATTEMPTS = 10
_LUMA = (0.2989, 0.587, 0.114)


@dataclass(frozen=True)
class Draw:
    """The random parameters of one batch of B images."""

    boxes: Tensor
    """int64 [B, 4]: top, left, height and width of the part that is resized to the full image."""
    flipped: Tensor
    """bool [B]"""
    factors: Tensor
    """float [4, B]: of brightness, contrast, saturation, and the shift of hue in turns."""
    order: tuple[int, ...]
    """The order in which these four are applied, the same for the whole batch."""


@dataclass(frozen=True)
class Augment:
    """Random crop, horizontal flip and colour jitter.

    The defaults are those of the PyTorch port of Meta-LSTM (markdtw/meta-learning-lstm-pytorch), which augments support
    and queries in meta-training: RandomResizedCrop, RandomHorizontalFlip, ColorJitter(0.4, 0.4, 0.4, 0.2).

    Raises:
        InputError: where a strength is out of range.
    """

    scale: tuple[float, float] | None = (0.08, 1.0)
    """Area of the crop relative to the image's; None does not resize."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height of the crop."""
    pad: int = 0
    """Crops of full size from the image with so many black pixels around it; needs `scale` None."""
    flip: float = 0.5
    """Probability of mirroring left and right."""
    brightness: float = 0.4
    """Factor drawn from 1 - b to 1 + b, at least 0; contrast and saturation likewise."""
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.2
    """Shift drawn from -h to h turns of the colour circle, h at most 0.5."""

    def __post_init__(self) -> None:
        low, high = self.scale or (1.0, 1.0)
        _check("scale", self.scale, 0 < low <= high <= 1, "None or two numbers with 0 < low <= high <= 1")
        _check("ratio", self.ratio, 0 < self.ratio[0] <= self.ratio[1] < math.inf, "two numbers with 0 < low <= high")
        _check("pad", self.pad, self.pad >= 0 and (not self.pad or self.scale is None), "0, or more with scale None")
        _check("flip", self.flip, 0 <= self.flip <= 1, "a probability")
        for name in ("brightness", "contrast", "saturation"):
            _check(name, getattr(self, name), 0 <= getattr(self, name) < math.inf, "a number of at least 0")
        _check("hue", self.hue, 0 <= self.hue <= 0.5, "a number from 0 to 0.5")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment every image on its own.

        Args:
            images: uint8, or float in [0, 1], [B, C, H, W] with 1 or 3 channels, on any device.
            generator: where every draw comes from. A CPU generator augments alike on every device.

        Returns:
            float [B, C, H, W] in [0, 1].
        """
        return self.apply(images, self.draw(images.shape, generator))

    def draw(self, shape: torch.Size, generator: torch.Generator) -> Draw:
        """Draw the parameters for images of `shape` [B, C, H, W], on the device of `generator`."""
        count, _, height, width = shape
        if self.scale is None:
            boxes = _shifted_boxes(count, height, width, self.pad, generator)
        else:
            boxes = _resized_boxes(count, height, width, self.scale, self.ratio, generator)
        reach = torch.tensor([self.brightness, self.contrast, self.saturation, self.hue], device=generator.device)
        centre = torch.tensor([1.0, 1.0, 1.0, 0.0], device=generator.device)[:, None]
        low = centre - reach.clamp(max=1.0)[:, None]
        return Draw(
            boxes=boxes,
            flipped=_uniform(generator, count) < self.flip,
            factors=low + (centre + reach[:, None] - low) * _uniform(generator, 4, count),
            order=tuple(torch.randperm(4, generator=generator, device=generator.device).tolist()),
        )

    def apply(self, images: Tensor, draw: Draw) -> Tensor:
        """Augment with given parameters; a transform whose strength is zero is left out.

        Args:
            images: uint8, or float in [0, 1], [B, C, H, W] on any device.
            draw: of B images.

        Returns:
            float [B, C, H, W] in [0, 1].

        Raises:
            InputError: unless C is 1 or 3.
        """
        if images.shape[1] not in (1, 3):
            raise InputError(f"images have {images.shape[1]} channels; augmentation needs 1 (gray) or 3 (RGB)")
        images = to_unit(images)
        device = images.device
        if self.scale is not None or self.pad or self.flip:
            images = crop_and_flip(images, draw.boxes.to(device), draw.flipped.to(device))
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        factors = draw.factors.to(device, images.dtype)
        for which in draw.order:
            if strengths[which]:
                images = _JITTER[which](images, factors[which].view(-1, 1, 1, 1))
        return images


def crop_and_flip(images: Tensor, boxes: Tensor, flipped: Tensor) -> Tensor:
    """Resize a box of each image to full size, bilinearly, and mirror some: one gather for all of it.

    Args:
        images: float [B, C, H, W].
        boxes: [B, 4], top, left, height, width in pixels; what lies outside of the image is black.
        flipped: bool [B], which ones to mirror left and right.
    """
    height, width = images.shape[2:]
    top, left, box_height, box_width = boxes.to(images.dtype).unbind(1)
    y = _sources(height, top, box_height)
    x = _sources(width, left, box_width)
    x = torch.where(flipped[:, None], x.flip(1), x)
    x, y = (2 * x + 1) / width - 1, (2 * y + 1) / height - 1
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black. Images float [B, C, H, W] in [0, 1]; `factor` [B, 1, 1, 1], 1 changes nothing."""
    return (images * factor).clamp(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean gray of each image; arguments as in `adjust_brightness`."""
    return _blend(images, _gray(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the gray of each pixel; arguments as in `adjust_brightness`. Gray images stay as they are."""
    return images if images.shape[1] == 1 else _blend(images, _gray(images), factor)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the colour circle by `shift` [B, 1, 1, 1], in turns. Gray images stay as they are.

    Largest and smallest channel keep their values, so HSV is never formed: a channel is the largest minus the chroma
    times a ramp over the distance to its hue.
    """
    if images.shape[1] == 1:
        return images
    largest, chroma = images.amax(1, keepdim=True), images.amax(1, keepdim=True) - images.amin(1, keepdim=True)
    peak = images.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)
    place = (_sextant(images, largest, chroma) + 6 * shift + peak).remainder(6)
    return largest - chroma * torch.minimum(place, 4 - place).clamp(0, 1)


_JITTER = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def _sextant(images: Tensor, largest: Tensor, chroma: Tensor) -> Tensor:
    """Hue of each pixel in sixths of a turn, [B, 1, H, W]; 0 for gray."""
    red, green, blue = (images / torch.where(chroma == 0, 1, chroma)).split(1, dim=1)
    is_red, is_green = images[:, :1] == largest, images[:, 1:2] == largest
    return torch.where(is_red, green - blue, torch.where(is_green, 2 + blue - red, 4 + red - green))


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def _gray(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _sources(size: int, start: Tensor, length: Tensor) -> Tensor:
    """Where each of `size` output pixels comes from in a box of `length` pixels at `start`: [B, size]."""
    centres = torch.arange(size, dtype=start.dtype, device=start.device) + 0.5
    inside = (centres * (length[:, None] / size) - 0.5).clamp(min=0)
    return start[:, None] + torch.minimum(inside, length[:, None] - 1)


def _resized_boxes(
    count: int,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """Boxes of random area and shape: the first of ten tries that fits, else the central box nearest to that shape."""
    tries = _uniform(generator, 2, count, _ATTEMPTS)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * tries[0])
    shape = torch.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * tries[1])
    sizes = torch.stack([(area / shape).sqrt(), (area * shape).sqrt()], dim=-1).round().long()
    full = torch.tensor([height, width], device=generator.device)
    fits = ((sizes > 0) & (sizes <= full)).all(dim=-1)
    first = sizes[torch.arange(count, device=sizes.device), fits.byte().argmax(dim=1)]
    central = torch.tensor(_central_size(height, width, ratio), device=generator.device)
    fitting = fits.any(dim=1, keepdim=True)
    sizes = torch.where(fitting, first, central)
    corner = (_uniform(generator, count, 2) * (full - sizes + 1)).long()
    return torch.cat([torch.where(fitting, corner, (full - central) // 2), sizes], dim=1)


def _central_size(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    shape = min(max(width / height, ratio[0]), ratio[1])
    return min(height, round(width / shape)), min(width, round(height * shape))


def _shifted_boxes(count: int, height: int, width: int, pad: int, generator: torch.Generator) -> Tensor:
    corner = (_uniform(generator, count, 2) * (2 * pad + 1)).long() - pad
    return torch.cat([corner, torch.tensor([height, width], device=corner.device).expand(count, 2)], dim=1)


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _check(name: str, value: object, good: bool, valid: str) -> None:
    if not good:
        raise InputError(f"augmentation: {name} is {value}; choose {valid}")
