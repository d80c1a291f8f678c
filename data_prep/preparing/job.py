"""A plan with everything decided: what `--dry-run` prints and what a preparation does."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data_prep.fetching.download import has_hash
from data_prep.formats.images import Resample, Span
from data_prep.preparing.options import Options, SourceOptions
from data_prep.preparing.plan import Plan, edition_of
from data_prep.preparing.recipe import Recipe, locate
from fewshot.data.catalog import class_label

_MIB = 1 << 20
_BYTES_PER_NAME = 128


@dataclass(frozen=True)
class Job:
    """What is read, how it is treated, and where it goes.

    Attributes:
        recipe: of the dataset.
        plan: what is read.
        files: on disk, that hold what the plan reads.
        edition: which published edition it is; empty for somebody's own images.
        target: the file to write.
    """

    recipe: Recipe
    plan: Plan
    files: list[Path]
    edition: str
    target: Path

    @property
    def bytes_per_row(self) -> int:
        """Room that one example takes, in bytes."""
        raise NotImplementedError

    @property
    def treatment(self) -> str:
        """What happens to the examples, in words."""
        raise NotImplementedError

    @property
    def bytes_needed(self) -> int:
        """Room that the prepared file takes, in bytes."""
        return self.plan.size * (self.bytes_per_row + _BYTES_PER_NAME) + _MIB

    def class_name(self, key: str) -> str:
        """What the prepared file calls a class of the plan."""
        return class_label(self.recipe.entry, key) if self.recipe.entry else key

    @cached_property
    def is_published(self) -> bool:
        """Whether every file has the hash that was published for it."""
        return all((known := self.recipe.known_hash(file)) is not None and has_hash(file, known) for file in self.files)


@dataclass(frozen=True)
class ImageJob(Job):
    """A job on images.

    Attributes:
        size: side of the prepared images in pixels.
        resample: filter for images of another size.
        span: what images of more than 8 bits are scaled by; None where nobody has said.
    """

    size: int
    resample: Resample
    span: Span | None = None

    @property
    def bytes_per_row(self) -> int:
        """Of the pixels of an image."""
        return self.size**2 * self.plan.channels

    @property
    def treatment(self) -> str:
        """What happens to the images, in words."""
        resized = f"to {self.size}x{self.size} pixels with Pillow's {self.resample} filter where they had another size"
        return "; ".join(filter(None, [resized, self.plan.treatment, self.scaling]))

    @property
    def scaling(self) -> str:
        """What happens to images of more than 8 bits, in words; empty where there are none."""
        if self.span is None:
            return ""
        return f"values of images of more than 8 bits scaled from {self.span.low:g} to {self.span.high:g} to 0 to 255"


def decide(recipe: Recipe, options: SourceOptions, fetch: bool) -> Job:
    """Find the dataset, or fetch it where allowed, and check its numbers against the published ones.

    Raises:
        InputError: where it is not there, is incomplete or is something else.
    """
    found, plan = locate(recipe, options, fetch)
    edition = edition_of(plan, recipe.entry, str(found.path)) if recipe.entry else ""
    return Job(recipe, plan, found.files(plan.sources), edition, target_of(recipe, options))


def decide_images(recipe: Recipe, options: Options, fetch: bool) -> ImageJob:
    """`decide`, with the size of the images."""
    job = decide(recipe, options, fetch)
    size, resample = options.image_size or recipe.image_size, options.resample or recipe.resample
    return ImageJob(job.recipe, job.plan, job.files, job.edition, job.target, size, resample, options.span)


def target_of(recipe: Recipe, options: SourceOptions) -> Path:
    """The file that the command writes."""
    return options.out / f"{recipe.name}.h5"


def free_bytes(path: Path) -> int:
    """Free space where `path` is, or will be."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return shutil.disk_usage(folder).free


def amount(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
