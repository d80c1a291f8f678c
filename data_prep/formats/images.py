"""Encoded images to pixels: any common format and colour mode, resized, in parallel, with bounded memory."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, get_args

import numpy as np
from PIL import Image

from data_prep.formats.sources import printable
from fewshot.errors import InputError, one_of

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]
Channels = Literal[1, 3]

MAX_PIXELS = 80_000_000
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
_BATCH = 64
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def decode(
    data: bytes, name: str, size: int | None = None, resample: Resample = "bilinear", channels: Channels = 3
) -> np.ndarray:
    """Decode an image.

    Grey, palette, CMYK and 16-bit images are converted. Transparency is dropped without blending and orientation tags
    are ignored, as torchvision's loader does. The whole image is resized, whatever its aspect, with Pillow's
    antialiased filters (`box` averages areas).

    Args:
        data: PNG, JPEG, BMP, GIF (first frame), WebP or PPM.
        name: how an error calls the image.
        size: side of the result in pixels; None keeps the image's own size.
        channels: 3 for RGB, 1 for luminance.

    Returns:
        uint8 [H, W, channels].

    Raises:
        InputError: naming the image, where it is damaged, truncated, of another format, or larger than `MAX_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"{name} has {image.width}×{image.height} pixels, over {MAX_PIXELS}; shrink or remove it"
                )
            converted = _convert(image, "L" if channels == 1 else "RGB")
            if size is not None and converted.size != (size, size):
                converted = converted.resize((size, size), _FILTERS[resample])
            return np.asarray(converted).reshape(converted.height, converted.width, channels)
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{name} is a damaged image or none ({printable(error)}); replace or remove it") from error


def decode_many(
    items: Iterable[tuple[str, bytes]],
    size: int | None = None,
    resample: Resample = "bilinear",
    jobs: int = 1,
    channels: Channels = 3,
) -> Iterator[tuple[str, np.ndarray]]:
    """Decode named images in `jobs` threads (Pillow decodes without the GIL), in the order of `items`.

    At most `2 * jobs + 2` batches of 64 encoded or decoded images are in memory. See `decode` for the arguments.

    Raises:
        InputError: for a bad argument, at once; for a bad image, when its turn comes.
    """
    one_of("resampling filter", resample, get_args(Resample))
    for what, number in (("jobs", jobs), ("image size", size)):
        if number is not None and number < 1:
            raise InputError(f"{what} is {number}; give 1 or more")

    def decode_batch(batch: list[tuple[str, bytes]]) -> list[tuple[str, np.ndarray]]:
        return [(name, decode(data, name, size, resample, channels)) for name, data in batch]

    return _parallel(decode_batch, _batched(items), jobs)


def _parallel(work: Callable[[list], list], batches: Iterable[list], jobs: int) -> Iterator:
    """The elements of `work(batch)` of every batch, in order, worked on at most `2 * jobs` batches ahead."""
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="decode")
    pending: deque[Future[list]] = deque()
    try:
        for batch in batches:
            pending.append(pool.submit(work, batch))
            if len(pending) > 2 * jobs:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batched(items: Iterable) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")
    return image.convert(mode)
