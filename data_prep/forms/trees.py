"""Forms that are files in named folders: one image a file, its class and split in its path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable

from data_prep.fetching.found import Found
from data_prep.formats.names import numeric
from data_prep.preparing.plan import Layout
from fewshot.data.store import SPLITS

IMAGE = r"[^/]+\.(?i:png|jpe?g|bmp|gif|webp|ppm|pgm)"
Place = tuple[str, str, str]
"""Split, class, and what orders the images of a class."""


def arrange(names: Iterable[str], place: Callable[[str], Place | None]) -> Layout:
    """Put files into splits and classes by their names.

    Of two files with one place (an archive beside its own content) the first counts. Classes are in alphabetical
    order, the images of a class in that of their keys, with numbers by value.

    Args:
        names: of files.
        place: where a name belongs; None for one that is no image of the dataset.
    """
    placed: dict[Place, str] = {}
    for name in names:
        if (where := place(name)) is not None:
            placed.setdefault(where, name)
    classes: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for split, label, key in sorted(placed, key=lambda where: (where[1], numeric(where[2]))):
        classes[split][label].append(placed[split, label, key])
    return {split: dict(classes[split]) for split in SPLITS if split in classes}


def in_order(layout: Layout) -> Layout:
    """Classes in alphabetical order, the images of a class in that of their names, with numbers by value."""
    return {
        split: {label: sorted(layout[split][label], key=numeric) for label in sorted(layout[split])}
        for split in SPLITS
        if split in layout
    }


def all_names(layout: Layout) -> frozenset[str]:
    """Every name in a layout."""
    return frozenset(name for classes in layout.values() for images in classes.values() for name in images)


def contents(found: Found, names: frozenset[str]) -> Callable[[], Generator[tuple[str, bytes]]]:
    """A reader of whole files, for `Plan.read`."""
    return lambda: ((name, source.read()) for name, source in found.sources(names))
