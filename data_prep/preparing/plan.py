"""What is to be written, known before any image is decoded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from data_prep.fetching.left_out import LeftOut
from data_prep.formats.images import Channels
from data_prep.formats.sources import printable
from fewshot.data.catalog import Counts, Entry, class_lists
from fewshot.errors import InputError

Content = bytes | np.ndarray
Layout = Mapping[str, Mapping[str, list[str]]]
"""Names of images in the order of their rows, by class, by split."""


def _as_it_is(name: str, image: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    return ((name, image),)


@dataclass(frozen=True)
class Plan:
    """One form of one dataset, found and indexed.

    Attributes:
        form: what was found, in words.
        layout: which image becomes which row.
        sources: the names, in the listing, of what is read.
        read: the images in any order: names with encoded bytes, or with uint8 arrays [H, W, 3] or [H, W].
        channels: of the prepared images.
        finish: makes the rows of one decoded image (rotations, say), each with its name in `layout`.
        treatment: what `finish` does to pixels, in words.
        remark: something the user should know about this form.
        rules: how classes and splits were made, in words.
        warnings: what may be a mistake of the user's, in words.
        left_out: what lies there and is not used.
        assembled: whether the images lay there as single files, so that someone may have copied one twice.
    """

    form: str
    layout: Layout
    sources: frozenset[str]
    read: Callable[[], Generator[tuple[str, Content]]]
    channels: Channels = 3
    finish: Callable[[str, np.ndarray], Iterable[tuple[str, np.ndarray]]] = _as_it_is
    treatment: str = ""
    remark: str = ""
    assembled: bool = field(default=False)
    rules: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)

    @property
    def size(self) -> int:
        """Number of rows in all splits."""
        return sum(len(names) for classes in self.layout.values() for names in classes.values())

    def without(self, images: Mapping[str, str]) -> Plan:
        """The plan without some images, each of which is left out for its reason; classes that lose all go too.

        Args:
            images: reasons by name.

        Raises:
            InputError: where a split loses all of its images.
        """
        left_out = LeftOut(self.left_out)
        for name, reason in images.items():
            left_out.add(name, reason)
        layout = {
            split: {
                label: kept for label, own in classes.items() if (kept := [name for name in own if name not in images])
            }
            for split, classes in self.layout.items()
        }
        if not all(layout.values()):
            raise InputError("leaving them out leaves a split without images; add some")
        read = self.read

        def rest() -> Generator[tuple[str, Content]]:
            return ((name, content) for name, content in read() if name not in images)

        return replace(self, layout=layout, read=rest, left_out=left_out)

    def tree(self) -> list[str]:
        """Splits, and classes with their sizes, one a line, for people."""
        lines = []
        for split, classes in self.layout.items():
            lines.append(f"{split}: {len(classes)} classes, {sum(map(len, classes.values()))} images")
            lines += [f"  {printable(label)}  {len(images)}" for label, images in classes.items()]
        return lines

    def counts(self) -> dict[str, Counts]:
        """Classes and images of each split."""
        return {split: Counts(len(classes), sum(map(len, classes.values()))) for split, classes in self.layout.items()}


def edition_of(plan: Plan, entry: Entry, where: str) -> str:
    """Which published edition of the dataset a plan has.

    Raises:
        InputError: where it has none, naming the first class or number that is not as published.
    """
    for edition in entry.editions:
        if _difference(plan, entry, edition) is None:
            return edition
    nearest = max(entry.editions, key=lambda edition: _similarity(plan, entry.editions[edition]))
    otherwise = ", or prepare what is there under another name with `python -m data_prep.image_folder`"
    raise InputError(
        f"{where} is not the published {entry.title}: {_difference(plan, entry, nearest)}; get the missing"
        f" files{otherwise if entry.image_size else ''}"
    )


def _similarity(plan: Plan, published: Mapping[str, Counts]) -> int:
    """Minus the number of images by which the splits differ."""
    counts = plan.counts()
    none = Counts(0, 0)
    splits = set(counts) | set(published)
    return -sum(
        abs((counts.get(split, none).images or 0) - (published.get(split, none).images or 0)) for split in splits
    )


def _difference(plan: Plan, entry: Entry, edition: str) -> str | None:
    """The first thing that is not as published, or None."""
    for split, published in entry.editions[edition].items():
        classes = plan.layout.get(split, {})
        expected = class_lists(entry.name).get(split, ())
        missing = [name for name in expected if name not in classes]
        if classes and missing and set(classes) & set(expected):
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return f"the {split} split lacks class {missing[0]}{others}"
        if len(classes) != published.classes:
            return f"the {split} split has {len(classes)} classes, not {published.classes}"
        if (wrong := _wrong_size(classes, entry, published)) is not None:
            return f"the {split} split has {wrong}"
    return None


def _wrong_size(classes: Mapping[str, list[str]], entry: Entry, published: Counts) -> str | None:
    if published.images is None:
        return None
    each = published.images // published.classes
    for name, images in classes.items():
        if entry.balanced and len(images) != each:
            return f"{len(images)} {entry.examples} of class {name}, not {each}"
    total = sum(map(len, classes.values()))
    return None if total == published.images else f"{total} {entry.examples}, not {published.images}"
