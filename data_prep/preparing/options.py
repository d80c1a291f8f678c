"""The command line that all preparation commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from data_prep.formats.images import Resample, Span
from fewshot.errors import InputError

_LARGEST_SIDE = 1024
Folder = Annotated[Path, tyro.conf.arg(name="data", aliases=["--out"])]
"""The folder of prepared datasets, as an option of a command."""


def default_folder() -> Path:
    """Where prepared datasets lie unless an option says otherwise."""
    return Path(os.environ.get("FEWSHOT_DATA", "data"))


@dataclass(frozen=True)
class SourceOptions:
    """What every preparation command can be told."""

    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A file, an archive or a folder to read. By default what lies in DATA/downloads/NAME, else what can be fetched."""
    out: Folder = field(default_factory=default_folder)
    """Folder for the prepared file, DATA/NAME.h5 ($FEWSHOT_DATA overrides the default; --out is an older name)."""
    force: bool = False
    """Prepare the file again although it is there."""
    dry_run: bool = False
    """Only tell what would be read, fetched and written."""
    quiet: bool = False
    """No progress bars."""

    def __post_init__(self) -> None:
        if self.source is not None and not self.source.exists():
            raise InputError(f"--from {self.source} does not exist; give the path of a file or folder")

    def downloads(self, name: str) -> Path:
        """Where the files of dataset `name` are downloaded to and looked for."""
        return self.out / "downloads" / name


@dataclass(frozen=True)
class Options(SourceOptions):
    """What every preparation of images can be told."""

    image_size: int | None = None
    """Height and width of the prepared images in pixels; by default the size that is usual for the dataset."""
    resample: Resample | None = None
    """Filter for images of another size; by default the one that is usual for the dataset."""
    jobs: int = 0
    """Threads that decode images; 0 takes one per CPU core."""
    keep_duplicates: bool = False
    """Accept images that are identical to another one."""

    @property
    def span(self) -> Span | None:
        """What images of more than 8 bits are scaled by; None takes the values that are in use."""
        return None

    @property
    def skips_bad(self) -> bool:
        """Whether images that cannot be read are left out."""
        return False

    @property
    def is_strict(self) -> bool:
        """Whether what may be a leak between splits is refused."""
        return False

    def __post_init__(self) -> None:
        if self.image_size is not None and not 1 <= self.image_size <= _LARGEST_SIDE:
            raise InputError(f"--image-size {self.image_size} is out of range; give 1 to {_LARGEST_SIDE} pixels")
        if self.jobs < 0:
            raise InputError(f"--jobs {self.jobs} is negative; give a number of threads, or 0 for one per core")
        super().__post_init__()

    @property
    def threads(self) -> int:
        """How many threads decode."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.jobs or cores


AnyOptions = TypeVar("AnyOptions", bound=SourceOptions)


def parse(options: type[AnyOptions], arguments: Sequence[str] | None, module: str) -> AnyOptions:
    """Read a command line.

    Args:
        options: the command's own class of options; its docstring and field docstrings are the help.
        arguments: without the program's name; None takes the program's own.
        module: the command's module, for the help.

    Raises:
        InputError: for a value out of range.
    """
    return tyro.cli(
        options,
        args=arguments,
        prog=f"python -m data_prep.{module}",
        description=options.__doc__,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
