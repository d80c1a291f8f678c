"""Images as people have them (file names, Pillow images, arrays, tensors) as tensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fewshot.data.fitting import fit
from fewshot.data.image_formats import BY_ENDING, DAMAGE, FORMATS, MAX_PIXELS
from fewshot.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    Picture = str | Path | Image.Image | np.ndarray | Tensor
    Pictures = Sequence[Picture] | np.ndarray | Tensor


def images_of(pictures: Pictures, size: int, channels: int) -> Tensor:
    """Bring images of any kind to a size and number of channels, as `fit` does.

    Args:
        pictures: a stack of images, an array [n, H, W] or [n, H, W, C] or a tensor [n, C, H, W]; or a sequence of file
            names, Pillow images, arrays [H, W] or [H, W, C] and tensors [C, H, W], each of its own size. Values are
            uint8, or float in [0, 1].
        size: H = W of the result in pixels.
        channels: 1 or 3.

    Returns:
        float32 [n, channels, size, size] in [0, 1].

    Raises:
        InputError: where something is no such image, or a file is absent or damaged.
    """
    if isinstance(pictures, np.ndarray | Tensor):
        return fit(_checked(_tensor(pictures, stacked=True), "images"), size, channels)
    if isinstance(pictures, str | Path | Image.Image) or not isinstance(pictures, Iterable):
        raise InputError(f"images are {type(pictures).__name__}; give a list of images, or a stack of them")
    fitted = [fit(one_picture(each, f"image {place}"), size, channels) for place, each in enumerate(pictures)]
    return torch.cat(fitted) if fitted else torch.empty(0, channels, size, size)


def one_picture(picture: Picture, name: str) -> Tensor:
    """One image as a tensor, uint8 or float, [1, C, H, W]; `name` is what an error calls it, unless it is a file."""
    if isinstance(picture, str | Path):
        return _read(Path(picture))
    if isinstance(picture, Image.Image):
        return _from_pillow(picture, name)
    if not isinstance(picture, np.ndarray | Tensor):
        raise InputError(f"{name} is {type(picture).__name__}; give a file name, Pillow image, array or tensor")
    return _checked(_tensor(picture, stacked=False), name)


def _tensor(values: np.ndarray | Tensor, stacked: bool) -> Tensor:
    """[n, C, H, W] where the number of axes allows it, else as it is."""
    axes = values.ndim + (not stacked)
    if isinstance(values, Tensor):
        values = values.detach()
        return values if stacked else values[None, None] if axes == 3 else values[None]
    array = values if stacked else values[None]
    array = array[..., None] if axes == 3 else array
    try:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    except TypeError as error:
        raise InputError(f"images are an array of {values.dtype}; give uint8, or floats in [0, 1]") from error
    return tensor.movedim(-1, 1) if tensor.ndim == 4 else tensor


def _checked(images: Tensor, name: str) -> Tensor:
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise InputError(
            f"{name}: {tuple(images.shape)} is no shape of images; give tensors [C, H, W], arrays [H, W] or [H, W, C]"
        )
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise InputError(f"{name}: values are {str(images.dtype)[6:]}; give uint8, or floats in [0, 1]")
    images = images.float()
    low, high = (float(end) for end in images.aminmax()) if images.numel() else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise InputError(
            f"{name}: values lie from {low:g} to {high:g}; floats must lie in [0, 1], so divide by the most"
        )
    return images


def _read(path: Path) -> Tensor:
    more = BY_ENDING.get(path.suffix.lower())
    try:
        with Image.open(path, formats=(*FORMATS, more) if more else FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{path} has {image.width}×{image.height} pixels, over {MAX_PIXELS}; shrink it")
            return _from_pillow(image, str(path))
    except FileNotFoundError:
        raise InputError(f"there is no image {path}; give the path of one") from None
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path} is a damaged image or none ({reason}); replace or remove it") from error


def _from_pillow(image: Image.Image, name: str) -> Tensor:
    if image.mode.startswith(("I", "F")):
        raise InputError(
            f"{name} has more than 8 bits a value; scale it yourself and give an array of floats in [0, 1]"
        )
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")
    plain = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    return torch.from_numpy(np.array(plain.reshape(1, image.height, image.width, -1))).movedim(-1, 1)
