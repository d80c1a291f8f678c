"""Forms that are big arrays of pixels beside a list of labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

from data_prep.fetching.found import Found
from data_prep.formats.pickles import load_pickle
from data_prep.preparing.plan import Layout, Plan
from data_prep.preparing.recipe import IncompleteError
from fewshot.data.store import SPLITS
from fewshot.errors import InputError


def per_split(found: Found, pattern: str) -> dict[str, str]:
    """The files of a form that has one for each split, by split; empty where there is none of them.

    Args:
        found: the listing.
        pattern: matches the ends of their paths; its first group is the split (`validation` counts as `val`).

    Raises:
        IncompleteError: where some are missing.
    """
    matches = ((re.search(rf"(?:^|/){pattern}$", name), name) for name in found.names)
    files = {match[1].replace("validation", "val"): name for match, name in matches if match}
    missing = [split for split in SPLITS if split not in files]
    if files and missing:
        there = next(iter(files.values()))
        raise IncompleteError(f"{found.path} has {there} but no such file for {' and '.join(missing)}; get the others")
    return {split: files[split] for split in SPLITS if split in files}


def by_label(name: str, labels: Any, class_names: Mapping[int, str]) -> dict[str, list[str]]:
    """Images of an array, named `FILE[ROW]`, by class in the order of the labels.

    Args:
        name: of the file with the array.
        labels: whole numbers, one an image.
        class_names: by label; a label without a name, or with one that another label has, shows its number.

    Raises:
        InputError: where the labels are something else.
    """
    labels = whole_numbers(labels, f"the labels of {name}")
    rows = np.argsort(labels, kind="stable")
    numbers, starts = np.unique(labels[rows], return_index=True)
    named = Counter(class_names.get(int(number)) for number in numbers)
    classes = {}
    for number, own in zip(map(int, numbers), np.split(rows, starts[1:]), strict=False):
        label = class_names.get(number, "class")
        unique = label if named[label] == 1 else f"{label} {number:03d}"
        classes[unique] = [f"{name}[{row}]" for row in own]
    return classes


def whole_numbers(values: Any, what: str) -> np.ndarray:
    """A list or array of whole numbers, int64 [n].

    Raises:
        InputError: where `values` is something else.
    """
    try:
        numbers = np.asarray(values)
    except (ValueError, OverflowError):  # ragged, or beyond 64 bits
        numbers = np.empty(0)
    if numbers.size == 0 and not isinstance(values, np.ndarray) and values in ([], ()):
        numbers = np.empty(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise InputError(f"{what} are no list of whole numbers; get the original file")
    return numbers.astype(np.int64)


def row_of(image: str) -> int:
    """The row that the name `FILE[ROW]` means."""
    return int(image[image.rindex("[") + 1 : -1])


def rows_in_order(
    layout: Layout, files: Mapping[str, str], load: Callable[[str], np.ndarray]
) -> Generator[tuple[str, np.ndarray]]:
    """The images of each split in the order of the layout, one split's array in memory at a time.

    Args:
        layout: names of images as `by_label` makes them.
        files: of each split, the file with its array.
        load: reads such a file: uint8 [n, H, W, 3] or [n, H, W].

    Yields:
        Names, and pixels [H, W, 3] or [H, W].
    """
    for split, file in files.items():
        yield from _rows(load(file), layout[split])


def _rows(pixels: np.ndarray, classes: Mapping[str, list[str]]) -> Generator[tuple[str, np.ndarray]]:
    for images in classes.values():
        for image in images:
            yield image, pixels[row_of(image)].copy()  # a view would keep all of the array alive


def labelled_pickles(found: Found, pattern: str, form: str) -> Plan | None:
    """Pickled dictionaries {data: uint8 [n, H, W, 3], labels: n whole numbers}, one for each split.

    The form of Gidaris & Komodakis' miniImageNet, and of MetaOptNet's CIFAR-FS and FC100. Classes are named where the
    file has `catname2label`, else numbered.
    """
    files = per_split(found, pattern)
    if not files:
        return None
    layout = {split: _labelled(found, file) for split, file in files.items()}
    names = frozenset(files.values())

    def load(file: str) -> np.ndarray:
        return pixels_of(one_pickle(found, file), "data", file)

    return Plan(form, layout, names, lambda: rows_in_order(layout, files, load))


def _labelled(found: Found, file: str) -> dict[str, list[str]]:
    content = one_pickle(found, file)
    pixels, labels = pixels_of(content, "data", file), whole_numbers(content.get("labels"), f"the labels in {file}")
    if len(labels) != len(pixels):
        raise InputError(f"{file} has {len(labels)} labels for {len(pixels)} images; get the original file")
    named = content.get("catname2label", {})
    if not isinstance(named, dict) or any(type(label) is not int for label in named.values()):
        raise InputError(f"{file} has no dictionary of labels in 'catname2label'; get the original file")
    return by_label(file, labels, {label: str(name) for name, label in named.items()})


def one_pickle(found: Found, name: str) -> dict[str, Any]:
    """The dictionary in a pickle of the listing.

    Raises:
        InputError: where it holds something else.
    """
    for _, source in found.sources(frozenset([name])):
        content = load_pickle(source)
        if isinstance(content, dict):
            return content
        raise InputError(f"{source.label} holds a {type(content).__name__}, not a dictionary; get the original file")
    raise InputError(f"{name} is no longer in {found.path}; try again")


def keys_of(content: Mapping[Any, Any]) -> str:
    """Some keys of a foreign dictionary, for an error."""
    return ascii(list(content)[:6])[:120]


def strings(values: Any, what: str) -> list[str]:
    """A list of names, whichever Python wrote them.

    Raises:
        InputError: where `values` is something else.
    """
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, (str, bytes)) for value in values):
        raise InputError(f"{what} are no list of names; get the original file")
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]


def pixels_of(content: Mapping[str, Any], key: str, file: str) -> np.ndarray:
    """The images in a pickled dictionary, uint8 [n, H, W, 3].

    Raises:
        InputError: naming what is there instead.
    """
    pixels = content.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        there = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else f"keys {keys_of(content)}"
        raise InputError(f"{file} has no uint8 [n, H, W, 3] under {key!r} but {there}; get the original file")
    return pixels
