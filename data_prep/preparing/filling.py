"""The images of a job into the rows of a file: decoded in parallel, written in runs, compared with each other."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Generator
from typing import Any

import numpy as np
from PIL import Image

from data_prep.formats.decoding import decode_many
from data_prep.formats.images import BadImageError, Seen
from data_prep.formats.names import numeric
from data_prep.preparing.job import ImageJob
from data_prep.preparing.plan import Content, Layout
from fewshot.console import progress
from fewshot.data.store import DatasetWriter
from fewshot.errors import InputError

_BATCH_BYTES = 1 << 25
_TOLD = 20
Batch = list[tuple[int, np.ndarray]]


class Rows:
    """Rows of all splits, numbered through; which image goes where."""

    def __init__(self, layout: Layout) -> None:
        per_split = {split: list(itertools.chain(*classes.values())) for split, classes in layout.items()}
        self.names = list(itertools.chain(*per_split.values()))
        self.number = {name: number for number, name in enumerate(self.names)}
        self._starts = dict(zip(per_split, itertools.accumulate(map(len, per_split.values()), initial=0), strict=False))

    def write(self, writer: DatasetWriter, batch: Batch) -> None:
        """Write a batch of numbered images, consecutive rows together."""
        batch.sort(key=lambda item: item[0])
        for (split, _), run in itertools.groupby(enumerate(batch), key=lambda pair: self._run(*pair)):
            numbers, images = zip(*(item for _, item in run), strict=True)
            start = numbers[0] - self._starts[split]
            writer.write(split, start, np.stack(images), [self.names[number] for number in numbers])

    def _run(self, place: int, item: tuple[int, np.ndarray]) -> tuple[str, int]:
        """The same for neighbours of one split."""
        number = item[0]
        split = max((name for name in self._starts if self._starts[name] <= number), key=self._starts.__getitem__)
        return split, number - place


class BadImagesError(InputError):
    """Some images cannot be read.

    Attributes:
        reasons: what is wrong, by name.
    """

    def __init__(self, reasons: dict[str, BadImageError]) -> None:
        names = sorted(reasons, key=numeric)
        told = "; ".join(str(reasons[name]) for name in names[:_TOLD])
        more = f"; and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        super().__init__(f"{told}{more}")
        self.reasons = reasons


def fill(writer: DatasetWriter, job: ImageJob, threads: int, quiet: bool) -> list[tuple[str, str]]:
    """Write every image of a job, and what its pixels are.

    Returns:
        Pairs of images that are identical, by name.

    Raises:
        BadImagesError: where images are damaged, naming all of them.
        DeepImageError: where an image has more than 8 bits, and the job does not say how to scale them.
        InputError: where an image is no longer there.
    """
    for split, classes in job.plan.layout.items():
        sizes = {job.class_name(name): len(images) for name, images in classes.items()}
        writer.add_split(split, sizes, (job.size, job.size, job.plan.channels))
    rows = Rows(job.plan.layout)
    digests: dict[int, int] = {}
    size = max(1, _BATCH_BYTES // (job.size**2 * job.plan.channels))
    seen, bad = Seen(), dict[str, BadImageError]()
    with progress(quiet) as bars, contextlib.closing(_images(job, threads, seen, bad)) as images:
        bar = bars.add_task(f"preparing {job.recipe.name}", total=len(rows.names), note="")
        while batch := [(rows.number[name], image) for name, image in itertools.islice(images, size)]:
            digests.update((number, _digest(image)) for number, image in batch)
            rows.write(writer, batch)
            bars.advance(bar, len(batch))
    if bad:
        raise BadImagesError(bad)
    if len(digests) != len(rows.names):
        raise InputError(f"{job.files[0]} gave {len(digests)} of {len(rows.names)} images; it changed: try again")
    writer.pixels = _pixels(job, seen)
    return _twins(digests, rows)


def _pixels(job: ImageJob, seen: Seen) -> str:
    """What the prepared pixels are, beside those of the files or, where they were published as they are, of those."""
    losses = {"pixels": seen.lossy > 0, "photographs": seen.lossy > 0 and not seen.resized, "jpeg": False}
    copied = job.recipe.entry is not None and losses[job.recipe.published_as]
    words = ["re-encoded" if copied else "", "resized" if seen.resized else ""]
    return ", ".join(filter(None, words)) or "original"


def _images(
    job: ImageJob, threads: int, seen: Seen, bad: dict[str, BadImageError]
) -> Generator[tuple[str, np.ndarray]]:
    """Every row, decoded and of its final size, in any order."""
    plan = job.plan
    with contextlib.closing(plan.read()) as contents:
        first = next(contents, ("", b""))
        everything: Any = itertools.chain([first], contents)
        if isinstance(first[1], bytes):
            decoded = decode_many(
                everything, job.size, job.resample, threads, plan.channels, job.span, seen, bad.__setitem__
            )
        else:
            decoded = ((name, _fitted(name, image, job, seen)) for name, image in everything)
        for name, image in decoded:
            yield from plan.finish(name, image)


def _fitted(name: str, image: Content, job: ImageJob, seen: Seen) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise InputError(f"{name} is no uint8 image; get the original file")
    image = np.atleast_3d(image)
    seen.add(image.shape[:2] != (job.size, job.size))
    if image.shape == (job.size, job.size, job.plan.channels):
        return image
    picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
    picture = picture.convert("L" if job.plan.channels == 1 else "RGB")
    resized = picture.resize((job.size, job.size), Image.Resampling[job.resample.upper()])
    return np.atleast_3d(np.asarray(resized))


def _digest(image: np.ndarray) -> int:
    return int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8])


def _twins(digests: dict[int, int], rows: Rows) -> list[tuple[str, str]]:
    first: dict[int, int] = {}
    pairs = ((first.setdefault(digest, number), number) for number, digest in sorted(digests.items()))
    return [(rows.names[one], rows.names[other]) for one, other in pairs if one != other]
