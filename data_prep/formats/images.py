"""An encoded image to pixels: any common format and colour mode, resized."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from data_prep.formats.sources import KINDS, identify_bytes, printable
from fewshot.data.image_formats import BY_ENDING, DAMAGE, FORMATS, MAX_PIXELS
from fewshot.errors import InputError

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]
Channels = Literal[1, 3]

_UNMISTAKABLE = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "QOI", "PSD", "DDS")
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
_PREFIX = 512
_SHORTEST = 16  # what Pillow asks for to know a format
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}


class BadImageError(InputError):
    """An image that cannot be read."""


@dataclass(frozen=True)
class Span:
    """The values of images with more than 8 bits that become 0 and 255; 256 equal parts between are the levels."""

    low: float = 0
    high: float = 65_535

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values of any type and shape as uint8 of the same shape."""
        step = 1.0 if values.dtype.kind in "iu" else 0.0
        scaled = (values.astype(np.float64) - self.low) * 256 / (self.high - self.low + step or 1.0)
        return np.clip(np.floor(scaled), 0, 255).astype(np.uint8)


class Seen:
    """What images were before they were prepared; counted by any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.images = self.resized = self.lossy = 0

    def add(self, resized: bool, lossy: bool = False) -> None:
        """Count an image that was resized, or came in a format that loses detail."""
        with self._lock:
            self.images += 1
            self.resized += resized
            self.lossy += lossy


class DeepImageError(Exception):
    """An image has more than 8 bits, and nobody has said which of its values are black and white."""


ANY_16_BITS = Span()


def decode(
    data: bytes,
    name: str,
    size: int | None = None,
    resample: Resample = "bilinear",
    channels: Channels = 3,
    span: Span | None = ANY_16_BITS,
    seen: Seen | None = None,
) -> np.ndarray:
    """Decode an image.

    Grey, palette and CMYK images are converted. Transparency is dropped without blending and orientation tags
    are ignored, as torchvision's loader does. The whole image is resized, whatever its aspect, with Pillow's
    antialiased filters (`box` averages areas).

    Args:
        data: any image that Pillow decodes itself (of several frames the first).
        name: how an error calls the image.
        size: side of the result in pixels; None keeps the image's own size.
        resample: filter of the resizing.
        channels: 3 for RGB, 1 for luminance.
        span: what images of more than 8 bits a value are scaled by; None refuses them.
        seen: told what the image was.

    Returns:
        uint8 [H, W, channels].

    Raises:
        BadImageError: naming the image, where it is damaged, truncated, of another format, or larger than `MAX_PIXELS`.
        DeepImageError: for an image of more than 8 bits without `span`.
    """
    try:
        with _opened(data, name) as image:
            deep = _deep_values(image, data, name)
            if deep is not None and span is None:
                raise DeepImageError(name)
            plain = image if deep is None or span is None else Image.fromarray(span(deep))
            converted = _convert(plain, "L" if channels == 1 else "RGB")
            if seen is not None:
                seen.add(size is not None and converted.size != (size, size), image.format in _LOSSY)
            if size is not None and converted.size != (size, size):
                converted = converted.resize((size, size), _FILTERS[resample])
            return np.asarray(converted).reshape(converted.height, converted.width, channels)
    except (InputError, DeepImageError):
        raise
    except DAMAGE as error:
        raise _damaged(data, name, error) from error


def span_of(items: Iterable[tuple[str, bytes]]) -> Span:
    """The least and the greatest value in those images that have more than 8 bits; damaged ones do not count."""
    low, high = np.inf, -np.inf
    for name, data in items:
        with contextlib.suppress(*DAMAGE, InputError), _opened(data, name) as image:
            values = _deep_values(image, data, name)
            if values is not None and values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
    return Span(low, high) if low <= high else ANY_16_BITS


def is_image(head: bytes) -> bool:
    """Whether a file that begins like this is an image, of a format whose first bytes are like no other's."""
    Image.init()
    accepts = (Image.OPEN[kind][1] for kind in _UNMISTAKABLE if kind in Image.OPEN)
    return len(head) >= _SHORTEST and any(accept is not None and accept(head) is True for accept in accepts)


@contextlib.contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    more = BY_ENDING.get("." + name.rpartition(".")[2].lower())
    with Image.open(io.BytesIO(data), formats=(*FORMATS, more) if more else FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise BadImageError(
                f"{name} has {image.width}×{image.height} pixels, over {MAX_PIXELS}; shrink or remove it"
            )
        yield image


def _damaged(data: bytes, name: str, error: Exception) -> BadImageError:
    kind = identify_bytes(data[:_PREFIX])
    what = KINDS[kind] if kind not in ("png", "jpeg", "unknown", "idx") else printable(error)
    return BadImageError(f"{name} is a damaged image or none ({what}); replace or remove it")


def _deep_values(image: Image.Image, data: bytes, name: str) -> np.ndarray | None:
    """The values of an image with more than 8 bits each, [H, W] or [H, W, 3]; None for other images.

    Raises:
        ValueError: where some are no numbers.
    """
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise ValueError("values that are no numbers")
        return values
    tiles: list[Any] = getattr(image, "tile", [])
    raw = _raw_mode(tiles[0]) if tiles else ""
    if ";16" not in raw:
        return None
    if raw.startswith("LA"):  # four bytes a pixel, as RGBA of 8 bits
        return _combined(*np.moveaxis(_read_as(data, name, "RGBA")[..., :2], -1, 0))
    other = raw[:-1] + ("L" if raw.endswith("B") else "B")  # Pillow keeps one byte of two, by the order it is told
    return _combined(np.asarray(image), _read_as(data, name, other))[..., :3]


def _raw_mode(tile: Any) -> str:
    arguments = tile[3]
    return str(arguments if isinstance(arguments, str) or not arguments else arguments[0])


def _read_as(data: bytes, name: str, raw: str) -> np.ndarray:
    """The bytes of an image, taken for those of another raw mode of the same length."""
    with _opened(data, name) as image:
        tiles: list[Any] = getattr(image, "tile", [])
        changed = (raw if isinstance(tile[3], str) else (raw, *tile[3][1:]) for tile in tiles)
        image.tile = [tile._replace(args=args) for tile, args in zip(tiles, changed, strict=True)]  # pyright: ignore
        return np.asarray(image)


def _combined(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    return high.astype(np.uint16) << 8 | low


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")
    return image.convert(mode)
