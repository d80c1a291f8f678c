"""Prepare your own images: `python -m data_prep.image_folder --from FOLDER`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.fetching.found import Found
from data_prep.formats.images import Channels
from data_prep.forms.trees import IMAGE, Place, all_names, arrange, contents
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.plan import Layout, Plan
from data_prep.preparing.recipe import Form, Recipe
from fewshot.console import run_command
from fewshot.data.catalog import CATALOG
from fewshot.data.store import SPLITS
from fewshot.errors import InputError

_IN_SPLITS = re.compile(rf"(?:^|/)(?i:(train|val|test))/([^/]+)/(?:.+/)?({IMAGE})$")
_IN_CLASSES = re.compile(rf"(?:^|/)([^/]+)/({IMAGE})$")
_LARGEST_SEED = 2**63


@dataclass(frozen=True)
class FolderOptions(Options):
    """Prepare your own images for the few-shot track.

    Give a folder or archive with train/CLASS/*, val/CLASS/* and test/CLASS/*, or one with CLASS/* whose classes are
    then divided at random.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source is None:
            raise InputError("no images given; name their folder or archive with --from PATH")
        if not 0 < self.val < 1 or not 0 < self.test < 1 or self.val + self.test >= 1:
            raise InputError(
                f"--val {self.val} and --test {self.test} leave no training classes; give two shares below 1"
            )
        if not 0 <= self.seed < _LARGEST_SEED:
            raise InputError(f"--seed {self.seed} is out of range; give a whole number from 0 to {_LARGEST_SEED - 1}")
        if not re.fullmatch(r"[\w-]+", self.dataset):
            raise InputError(f"{self.dataset!r} is no name for a dataset; give letters, digits, - and _ with --name")
        if self.dataset in CATALOG:
            raise InputError(f"{self.dataset} is the name of a published dataset; give yours another one with --name")

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        path = Path() if self.source is None else self.source.resolve()
        return self.name or path.name.partition(".")[0].replace(" ", "_")


def recipe(options: FolderOptions) -> Recipe:
    """How the images are prepared."""
    expects = "{train,val,test}/CLASS/* or CLASS/* (png, jpg, bmp, gif, webp)"
    return Recipe(options.dataset, (Form(expects, lambda found: _plan(found, options)),), image_size=84)


def _plan(found: Found, options: FolderOptions) -> Plan | None:
    layout = arrange(found.names, _in_splits) or _divided(arrange(found.names, _in_classes), options)
    names = all_names(layout)
    if not names:
        return None
    for split in SPLITS:
        if split not in layout:
            raise InputError(f"{found.path} has no images in {split}/CLASS; add them, or give one folder of classes")
    seen: dict[str, str] = {}
    for split, classes in layout.items():
        for label in classes:
            if label in seen:
                raise InputError(f"class {label} is in {seen[label]} and in {split}; few-shot splits share no class")
            seen[label] = split
    form = f"{len(seen)} class folders"
    return Plan(form, layout, names, contents(found, names), channels=options.channels, assembled=True)


def _in_splits(name: str) -> Place | None:
    match = _IN_SPLITS.search(name)
    return (match[1].lower(), match[2], name) if match else None


def _in_classes(name: str) -> Place | None:
    match = _IN_CLASSES.search(name)
    return ("train", match[1], name) if match else None


def _divided(layout: Layout, options: FolderOptions) -> Layout:
    """Divide the classes at random, by the seed and nothing else."""
    classes = layout.get("train", {})
    if not classes:
        return {}
    held_out = {"val": round(options.val * len(classes)), "test": round(options.test * len(classes))}
    if min(held_out.values()) < 1 or sum(held_out.values()) >= len(classes):
        raise InputError(f"{len(classes)} classes are too few to divide; give more, or train/, val/ and test/ folders")
    order = np.argsort(np.random.Philox(key=options.seed).random_raw(len(classes)), kind="stable")
    names = [sorted(classes)[place] for place in order]
    parts = {"val": names[: held_out["val"]], "test": names[held_out["val"] : sum(held_out.values())]}
    parts["train"] = names[sum(held_out.values()) :]
    return {split: {name: classes[name] for name in sorted(parts[split])} for split in SPLITS}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parse(FolderOptions, arguments, "image_folder")
    prepare(recipe(options), options)


if __name__ == "__main__":
    run_command(main)
