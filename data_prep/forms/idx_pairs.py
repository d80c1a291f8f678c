"""The form of MNIST and its kin: four IDX files."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from data_prep.fetching.download import Mirror
from data_prep.fetching.found import Found
from data_prep.formats.idx import read_idx
from data_prep.forms.arrays import by_label, rows_in_order
from data_prep.preparing.plan import Plan
from data_prep.preparing.recipe import Download, Form, IncompleteError
from fewshot.errors import InputError

_PARTS = {"train": "train", "t10k": "test"}


def idx_form(class_names: Sequence[str]) -> Form:
    """`{train,t10k}-{images-idx3,labels-idx1}-ubyte`, compressed or not.

    Args:
        class_names: by label.
    """
    expects = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (.gz)"
    return Form(expects, lambda found: _plan(found, class_names))


def idx_downloads(mirrors: Sequence[str], md5: Sequence[str]) -> tuple[Download, ...]:
    """The four compressed files.

    Args:
        mirrors: addresses of folders.
        md5: of train images, train labels, test images and test labels.
    """
    names = [f"{part}-{kind}-ubyte.gz" for part in _PARTS for kind in ("images-idx3", "labels-idx1")]
    return tuple(
        Download(name, tuple(Mirror(mirror + name) for mirror in mirrors), f"md5:{digest}")
        for name, digest in zip(names, md5, strict=True)
    )


def _plan(found: Found, class_names: Sequence[str]) -> Plan | None:
    files = _files(found)
    if not files:
        return None
    images = {split: files[split, "images"] for split in _PARTS.values()}
    layout = {}
    for split, name in images.items():
        labels = _read(found, files[split, "labels"])
        if (count := len(_read(found, name))) != len(labels):
            raise InputError(
                f"{name} has {count} images and {files[split, 'labels']} {len(labels)} labels; get both again"
            )
        layout[split] = by_label(name, labels, dict(enumerate(class_names)))

    sources = frozenset(files.values())
    return Plan(
        "IDX files", layout, sources, lambda: rows_in_order(layout, images, lambda name: _read(found, name)), channels=1
    )


def _files(found: Found) -> dict[tuple[str, str], str]:
    """The four files by split and kind; of a compressed one and its content the first counts."""
    files: dict[tuple[str, str], str] = {}
    for name in found.names:
        if match := re.search(r"(?:^|/)(train|t10k)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?$", name):
            files.setdefault((_PARTS[match[1]], match[2]), name)
    if files and len(files) < 4:
        wanted = [(split, kind) for split in _PARTS.values() for kind in ("images", "labels")]
        split, kind = next(pair for pair in wanted if pair not in files)
        raise IncompleteError(f"{found.path} has no {kind} of the {split} split; get all four files")
    return files


def _read(found: Found, name: str) -> np.ndarray:
    for _, source in found.sources(frozenset([name])):
        return read_idx(source)
    raise InputError(f"{name} is no longer in {found.path}; try again")
