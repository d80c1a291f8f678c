"""What is known about each dataset, and the one way to open a prepared one by name."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from fewshot.data import glyphs
from fewshot.data.published import CATALOG, Counts, Entry
from fewshot.data.store import Dataset, Split
from fewshot.errors import InputError

__all__ = [
    "CATALOG",
    "Counts",
    "Entry",
    "class_label",
    "class_lists",
    "class_table",
    "missing",
    "open_dataset",
    "pixels_of",
    "refuse_leak",
    "seen_classes",
]

_LOSSLESS = ("omniglot", "mnist", "fashion_mnist", "cifar10", "cifar100", "cifar_fs", "fc100")
"""Whose published images are no JPEGs."""


def open_dataset(name: str, folder: Path | str, quiet: bool = False, kind: type[Split] | None = Split) -> Dataset:
    """Open `folder/NAME.h5`; what knows how to make itself, such as the embedded `glyphs`, is made there on first use.

    Args:
        name: a name of the catalog, or of any file that a preparation command wrote to `folder`.
        folder: where prepared datasets lie.
        quiet: no progress bar.
        kind: what its splits must be, images by default; None: images or texts.

    Raises:
        InputError: where it is not there (naming the command that prepares it, or what there is), is damaged, is of
            another kind, or holds glyphs of another recipe than today's.
    """
    folder = Path(folder)
    path = folder / f"{name}.h5"
    reason = missing(name, folder)
    if reason:
        raise InputError(reason)
    if not path.is_file():
        make = CATALOG[name].make
        assert make is not None  # otherwise it would be missing
        make(path, quiet)
    dataset = Dataset.open(path)
    for split in dataset.splits.values():
        if kind is not None and type(split) is not kind:
            raise InputError(f"{path} holds {split.array}, not {kind.array}; choose another dataset")
    if name == glyphs.NAME and not glyphs.is_current(dataset):
        raise InputError(
            f"{path} was drawn by another recipe, results on it compare with none; draw it again with"
            f" `python -m data_prep.glyphs --force --out {path}`"
        )
    return dataset


def pixels_of(dataset: Dataset) -> str:
    """What a dataset's images are beside the published ones: `original`, `resized`, `re-encoded` with losses, or two.

    Of files from before that was recorded, those with JPEG names are told where the published images are no JPEGs.
    """
    if dataset.pixels:
        return dataset.pixels
    if dataset.name == glyphs.NAME:
        return "original"
    if dataset.name in _LOSSLESS:
        names = (name.lower() for split in dataset.splits.values() for name in split.file_names())
        if any(name.endswith((".jpg", ".jpeg")) for name in names):
            return "re-encoded"
    return "not recorded"


def missing(name: str, folder: Path | str) -> str:
    """Why `open_dataset` finds nothing to open, naming the command that prepares it; "" where there is something."""
    folder = Path(folder)
    path = folder / f"{name}.h5"
    if path.is_file() or (name in CATALOG and CATALOG[name].make is not None):
        return ""
    if name in CATALOG:
        return f"{path} does not exist; prepare it with `{CATALOG[name].command} --out {folder}`"
    return _unknown(name, folder)


def class_lists(name: str) -> Mapping[str, tuple[str, ...]]:
    """The classes of each split, as the entry's vocabulary names them; empty where none are on record."""
    entry = CATALOG.get(name)
    if entry is None or entry.class_table is None:
        return {}
    rows = class_table(entry.class_table)
    if entry.track == "general":
        return {split: tuple(rows) for split in next(iter(entry.editions.values()))}
    return {split: tuple(c for c, row in rows.items() if row["split"] == split) for split in ("train", "val", "test")}


@cache
def class_table(stem: str) -> Mapping[str, Mapping[str, str]]:
    """A table of `fewshot/data/assets`, by class, in the published order.

    Origins: Ravi & Larochelle (twitter/meta-learning-lstm, MIT) for miniImageNet; Ren et al.
    (renmengye/few-shot-ssl-public, MIT) for tieredImageNet; Bertinetto et al. 2019 for CIFAR-FS; Oreshkin et al. 2018
    for FC100.
    """
    text = (resources.files("fewshot.data") / "assets" / f"classes_{stem}.csv").read_text(encoding="utf-8")
    return {row["class"]: row for row in csv.DictReader(text.splitlines())}


def class_label(entry: Entry, name: str) -> str:
    """A class for people: its own name, and what that means where the table knows."""
    meaning = class_table(entry.class_table).get(name, {}).get("name", "") if entry.class_table else ""
    return f"{name} {meaning}".strip()


def seen_classes(backbone_dataset: str, target_dataset: str) -> Mapping[str, tuple[str, ...]]:
    """Classes of the target's val and test splits that lie in the training split of the backbone's dataset."""
    ours, theirs = CATALOG.get(backbone_dataset), CATALOG.get(target_dataset)
    if ours is None or theirs is None or ours is theirs:
        return {}
    if ours.vocabulary is None or ours.vocabulary != theirs.vocabulary:
        return {}
    trained_on = set(class_lists(backbone_dataset)["train"])
    held_out = {split: classes for split, classes in class_lists(target_dataset).items() if split != "train"}
    return {split: tuple(c for c in classes if c in trained_on) for split, classes in held_out.items()}


def refuse_leak(backbone_dataset: str, target_dataset: str, force: bool = False, what: str = "backbone") -> None:
    """Refuse to evaluate on `target_dataset` with a backbone that has seen classes it holds out.

    miniImageNet and tieredImageNet are cut from the same ImageNet, CIFAR-FS and FC100 from the same CIFAR-100: 13
    training classes of miniImageNet are test classes of tieredImageNet, and 5 the other way round. Datasets that are
    not in the catalog pass: nothing is known about them.

    Args:
        backbone_dataset: what the backbone was trained on (its training split).
        target_dataset: what it is to be evaluated on (validation or test split).
        force: let it pass.
        what: has seen them, in words.

    Raises:
        InputError: naming how many and which classes.
    """
    for split, seen in sorted(seen_classes(backbone_dataset, target_dataset).items()):
        if seen and not force:
            held_out = len(class_lists(target_dataset)[split])
            raise InputError(
                f"a {what} trained on {backbone_dataset} has seen {len(seen)} of the {held_out} {split} classes of"
                f" {target_dataset} ({', '.join(seen[:3])}{', …' if len(seen) > 3 else ''}); train one on"
                f" {target_dataset}, or use it all the same with --force"
            )


def _unknown(name: str, folder: Path) -> str:
    there = sorted(path.stem for path in folder.glob("*.h5"))
    return (
        f"unknown dataset {name!r}; known: {', '.join(CATALOG)}; prepared in {folder}: {', '.join(there) or 'none'};"
        f" prepare your own images with `python -m data_prep.image_folder --name {name} --from PATH`"
    )
