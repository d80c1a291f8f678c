"""Prepare your own images: `python -m data_prep.image_folder --from FOLDER`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from data_prep.fetching.found import Found
from data_prep.formats.images import Channels, Span
from data_prep.forms.class_folders import Level
from data_prep.forms.own_images import Wishes, understand
from data_prep.forms.trees import all_names, contents
from data_prep.preparing.copies import alike_classes
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.plan import Plan
from data_prep.preparing.recipe import Form, Recipe
from fewshot.console import run_command
from fewshot.data.catalog import CATALOG
from fewshot.errors import InputError

_LARGEST_SEED = 2**63


@dataclass(frozen=True)
class FolderOptions(Options):
    """Prepare your own images for the few-shot track.

    Give a folder or archive with train/CLASS/*, val/CLASS/* and test/CLASS/* (or training, base, meta-train, …), with
    lists train.csv, val.csv and test.csv beside the images, or with CLASS/* whose classes are then divided at random.
    What was understood, and what is left out, is told; --dry-run tells it before anything is written.
    """

    name: str = ""
    """Name of the dataset; by default that of the folder."""
    channels: Channels = 3
    """3 for colour, 1 for grey."""
    val: float = 0.16
    """Share of the classes for validation, where they are divided at random."""
    test: float = 0.2
    """Share of the classes for testing, where they are divided at random."""
    seed: int = 0
    """Decides which classes go where, where they are divided at random."""
    divide: bool = False
    """Put the classes of split folders or lists together, and divide them at random."""
    class_folder: Level = "auto"
    """Which folder on the way to an image is its class. first: the outermost; last: the innermost, named with its
    parents where equal names lie under several; name: the innermost, and equal names are one class; auto: by the
    names."""
    leave_out: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Files and folders that are not used, by name or pattern (masks, *_old); may be given several times."""
    min_images: int = 1
    """Leave out classes of fewer images."""
    range: tuple[float, float] | None = None
    """The values of 16-bit images that become black and white; by default the least and the greatest in use."""
    skip_bad: bool = False
    """Leave out images that cannot be read."""
    strict: bool = False
    """Refuse what may be a leak between splits: identical images, names of classes that differ only in case, blanks or
    Unicode form."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source is None:
            raise InputError("no images given; name their folder or archive with --from PATH")
        for option, share in (("--val", self.val), ("--test", self.test)):
            if not 0 < share < 1:
                raise InputError(f"{option} {share} is out of range; give a share of the classes between 0 and 1")
        if self.val + self.test >= 1:
            raise InputError(f"--val {self.val} and --test {self.test} leave no training classes; give smaller shares")
        if not 0 <= self.seed < _LARGEST_SEED:
            raise InputError(f"--seed {self.seed} is out of range; give a whole number from 0 to {_LARGEST_SEED - 1}")
        if self.min_images < 1:
            raise InputError(f"--min-images {self.min_images} is out of range; give 1 or more")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise InputError(f"--range {self.range[0]:g} {self.range[1]:g} is empty; give the lower value first")
        if not re.fullmatch(r"[\w-]+", self.dataset):
            raise InputError(f"{self.dataset!r} is no name for a dataset; give letters, digits, - and _ with --name")
        if self.dataset in CATALOG:
            raise InputError(f"{self.dataset} is the name of a published dataset; give yours another one with --name")

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        path = Path() if self.source is None else self.source.resolve()
        return self.name or path.name.partition(".")[0].replace(" ", "_")

    @property
    def span(self) -> Span | None:
        """The values that become black and white, where the user gave them."""
        return None if self.range is None else Span(*self.range)

    @property
    def skips_bad(self) -> bool:
        """Whether images that cannot be read are left out."""
        return self.skip_bad

    @property
    def is_strict(self) -> bool:
        """Whether what may be a leak between splits is refused."""
        return self.strict

    @property
    def wishes(self) -> Wishes:
        """How the listing is to be understood."""
        return Wishes(
            self.class_folder, self.divide, self.val, self.test, self.seed, self.min_images, tuple(self.leave_out)
        )


def recipe(options: FolderOptions) -> Recipe:
    """How the images are prepared."""
    expects = (
        "{train,val,test}/CLASS/*, CLASS/*, or images with the lists train.csv, val.csv and test.csv (png, jpg, tif,"
        " webp and whatever else Pillow reads)"
    )
    return Recipe(options.dataset, (Form(expects, lambda found: _plan(found, options)),), image_size=84)


def _plan(found: Found, options: FolderOptions) -> Plan | None:
    understood = understand(found, options.wishes)
    if understood is None:
        return None
    layout = understood.layout
    alike = alike_classes(layout)
    if alike and options.strict:
        raise InputError(f"classes of the same meaning: {'; '.join(alike[:5])}; rename or join them")
    names = all_names(layout)
    return Plan(
        f"{sum(map(len, layout.values()))} classes in {found.path.name}",
        layout,
        names | understood.lists,
        contents(found, names),
        channels=options.channels,
        rules=understood.rules,
        warnings=tuple(f"classes of the same meaning: {names}" for names in alike),
        left_out=understood.left_out,
        assembled=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parse(FolderOptions, arguments, "image_folder")
    prepare(recipe(options), options)


if __name__ == "__main__":
    run_command(main)
