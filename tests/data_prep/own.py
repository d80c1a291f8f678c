"""Folders of images as people keep them, for tests of `data_prep.image_folder`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

from miniature import encoded, pictures, write_files

from data_prep import image_folder
from fewshot.data.store import Dataset

_seeds = itertools.count(1000)
CLASSES = {"train": 4, "val": 2, "test": 2}


def images(folders: Iterable[str], each: int = 3, ending: str = "png", kind: str = "PNG") -> dict[str, bytes]:
    """Different images `FOLDER/0.png`, `FOLDER/1.png`, … in each of some folders."""
    return {
        f"{folder}/{row}.{ending}": encoded(image, kind)
        for folder in folders
        for row, image in enumerate(pictures(each, 12, next(_seeds)))
    }


def split_tree(names: Mapping[str, str] | None = None, inner: str = "") -> dict[str, bytes]:
    """`train/tr_a/*` … with 4, 2 and 2 classes, under other names of the splits."""
    return images(
        f"{(names or {}).get(split, split)}/{split[:2]}_{letter}{inner}"
        for split, count in CLASSES.items()
        for letter in "abcd"[:count]
    )


SPLIT_CLASSES = {split: {f"{split[:2]}_{letter}" for letter in "abcd"[:count]} for split, count in CLASSES.items()}


def prepare(source: Path, out: Path, *more: str) -> Dataset:
    """Run the command and open what it wrote."""
    image_folder.main(
        ["--from", str(source), "--data", str(out), "--quiet", "--name", "own", "--image-size", "8", *more]
    )
    return Dataset.open(out / "own.h5")


def classes(dataset: Dataset) -> dict[str, set[str]]:
    """The names of the classes of each split."""
    return {name: set(split.class_names) for name, split in dataset.splits.items()}


def all_classes(dataset: Dataset) -> dict[str, int]:
    """All classes with their sizes."""
    return {
        name: int(size)
        for split in dataset.splits.values()
        for name, size in zip(split.class_names, split.class_sizes, strict=True)
    }


def folder_of(path: Path, files: Mapping[str, bytes]) -> Path:
    """Files in a folder `from` below `path`."""
    return write_files(path / "from", files)
