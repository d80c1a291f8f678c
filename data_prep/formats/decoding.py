"""Many encoded images to pixels: in parallel, in order, with bounded memory."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import get_args

import numpy as np

from data_prep.formats.images import ANY_16_BITS, BadImageError, Channels, Resample, Seen, Span, decode
from fewshot.errors import InputError, one_of

_BATCH = 64


def decode_many(
    items: Iterable[tuple[str, bytes]],
    size: int | None = None,
    resample: Resample = "bilinear",
    jobs: int = 1,
    channels: Channels = 3,
    span: Span | None = ANY_16_BITS,
    seen: Seen | None = None,
    on_bad: Callable[[str, BadImageError], None] | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Decode named images in `jobs` threads (Pillow decodes without the GIL), in the order of `items`.

    At most `2 * jobs + 2` batches of 64 encoded or decoded images are in memory.

    Args:
        items: name and encoded bytes of each image.
        size: as `decode` takes it.
        resample: as `decode` takes it.
        jobs: number of threads.
        channels: as `decode` takes it.
        span: as `decode` takes it.
        seen: as `decode` takes it.
        on_bad: told of each bad image, which is then left out.

    Returns:
        Name and pixels, uint8 [H, W, channels], of each image.

    Raises:
        InputError: for a bad argument, at once; for a bad image, when its turn comes, unless `on_bad` is given.
        DeepImageError: as `decode`, when the image's turn comes.
    """
    one_of("resampling filter", resample, get_args(Resample))
    for what, number in (("jobs", jobs), ("image size", size)):
        if number is not None and number < 1:
            raise InputError(f"{what} is {number}; give 1 or more")

    def decode_one(name: str, data: bytes) -> np.ndarray | BadImageError:
        try:
            return decode(data, name, size, resample, channels, span, seen)
        except BadImageError as error:
            if on_bad is None:
                raise
            return error

    def decode_batch(batch: list[tuple[str, bytes]]) -> list[tuple[str, np.ndarray | BadImageError]]:
        return [(name, decode_one(name, data)) for name, data in batch]

    return _good(_parallel(decode_batch, _batched(items), jobs), on_bad)


def _good(decoded: Iterator, on_bad: Callable[[str, BadImageError], None] | None) -> Iterator[tuple[str, np.ndarray]]:
    with contextlib.closing(decoded):  # pyright: ignore[reportArgumentType]
        for name, image in decoded:
            if not isinstance(image, BadImageError):
                yield name, image
            elif on_bad is not None:
                on_bad(name, image)


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
