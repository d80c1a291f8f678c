"""Lists that say which images are in which split and class: `train.csv`, `base.json`, `test.txt`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from data_prep.fetching.found import Found
from data_prep.forms.splits import splits_among
from data_prep.forms.tables import ENDINGS, read_table
from data_prep.formats.sources import printable
from data_prep.preparing.plan import Layout
from fewshot.data.store import SPLITS
from fewshot.errors import InputError

_LABELS = (
    *("label", "label_name", "class_name", "class", "classname", "category", "wnid", "synset", "species", "breed"),
    *("target", "labels", "y"),
)
_SAMPLE = 50


@dataclass
class Lists:
    """What the lists of a dataset say.

    Attributes:
        files: split of each list, by its name in the listing.
        images: of each split: its images by class, where the lists name images.
        classes: split of each class, where the lists name classes.
    """

    files: dict[str, str]
    images: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)

    def missing(self) -> list[str]:
        """Splits without a list."""
        return [split for split in SPLITS if split not in self.files.values()]


class ImageNames:
    """Finds images by what other people's lists call them.

    Args:
        names: in the listing.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by_file: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            file = name.rpartition("/")[2]
            self._by_file[file].append(name)
            if (stem := file.rpartition(".")[0]) and stem != file:
                self._by_file[stem].append(name)

    def find(self, text: str, label: str = "") -> str | None:
        """The image that a list means by a name or a path, whatever folders lie around it there.

        Raises:
            InputError: where it may be one of several.
        """
        wanted = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        there = self._by_file.get(wanted[-1], []) if wanted else []
        if len(there) < 2:
            return there[0] if there else None
        ranked = sorted(there, key=lambda name: _alike(name.split("/"), wanted, label), reverse=True)
        if _alike(ranked[0].split("/"), wanted, label) == _alike(ranked[1].split("/"), wanted, label):
            raise InputError(f"a list names {text!r}, which may be {ranked[0]} or {ranked[1]}; write more of its path")
        return ranked[0]


def _alike(parts: list[str], wanted: list[str], label: str) -> tuple[int, bool]:
    """How many folders next to the file are the same, and whether one is the label."""
    same = 0
    for own, other in zip(reversed(parts[:-1]), reversed(wanted[:-1]), strict=False):
        if own != other:
            break
        same += 1
    return same, bool(label) and label in parts[:-1]


def lists_in(found: Found) -> dict[str, str]:
    """The lists of splits in a listing, with their splits.

    Raises:
        InputError: where there are several of one split.
    """
    by_folder: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in found.names:
        if name.lower().endswith(ENDINGS):
            folder, _, file = name.rpartition("/")
            by_folder[folder][name] = file.rpartition(".")[0]
    lists = {}
    for files in by_folder.values():
        splits = splits_among(set(files.values()))
        lists |= {name: splits[stem] for name, stem in files.items() if stem in splits}
    for split in SPLITS:
        if len(several := [name for name, own in lists.items() if own == split]) > 1:
            raise InputError(
                f"{found.path} has several lists of {split}: {several[0]} and {several[1]}; leave out what does not"
                f" count, with --leave-out {several[1]!r}"
            )
    return {name: split for split in SPLITS for name, own in lists.items() if own == split}


def read_lists(found: Found, lists: Mapping[str, str], images: Iterable[str]) -> Lists:
    """Read lists and find what they name.

    Args:
        found: the listing they stand in.
        lists: split of each, by name.
        images: names of all images.

    Raises:
        InputError: where one cannot be read or names what is not there, or where two disagree.
    """
    read = Lists(dict(lists))
    names = ImageNames(images)
    folders = {part for image in images for part in image.split("/")[:-1]}
    for name, source in found.sources(frozenset(lists)):
        _read(read, name, lists[name], read_table(source), names, folders)
    if read.images and read.classes:
        raise InputError(f"of the lists {', '.join(lists)}, some name images and some name classes; give one kind")
    _refuse_shared_classes(read)
    return read


def _read(
    read: Lists, name: str, split: str, rows: list[list[str]], names: ImageNames, folders: set[str]
) -> None:
    if (column := _column(rows, lambda text: names.find(text) is not None)) is not None:
        read.images[split] = _images(name, rows, column, names)
    elif (column := _column(rows, folders.__contains__)) is not None:
        body = rows if rows[0][column] in folders else rows[1:]
        absent = [row[column] for row in body if row[column] not in folders]
        if absent:
            raise InputError(f"{name} lists the class {printable(absent[0])!r}, which has no folder; mend the list")
        for label in dict.fromkeys(row[column] for row in body):
            if read.classes.setdefault(label, split) != split:
                raise _shared(label, read.classes[label], split)
    else:
        raise InputError(
            f"{name} looks like a list of the {split} split, but names no image or class that is there"
            f" ({printable(' | '.join(rows[-1]))!r}, say); mend it, or leave it out with --leave-out {name!r}"
        )


def _column(rows: list[list[str]], known: Callable[[str], bool]) -> int | None:
    """The first column with the most values that are known among some rows after the first."""
    sample = rows[1 : 1 + _SAMPLE] or rows
    hits = [sum(known(row[column]) for row in sample) for column in range(len(rows[0]))]
    best = max(range(len(hits)), key=lambda column: hits[column])
    return best if hits[best] else None


def _images(name: str, rows: list[list[str]], column: int, names: ImageNames) -> dict[str, list[str]]:
    """Images by class."""
    header = [] if names.find(rows[0][column]) else [cell.casefold() for cell in rows[0]]
    label = _label_column(name, header, len(rows[0]), column)
    classes: defaultdict[str, dict[str, None]] = defaultdict(dict)
    absent = []
    for row in rows[1:] if header else rows:
        text = "" if label is None else printable(row[label], 1000)
        image = names.find(row[column], text)
        if image is None:
            absent.append(row[column])
        elif own := text or "/".join(image.split("/")[-2:-1]):
            classes[own][image] = None
        else:
            raise InputError(f"{name} names {printable(row[column])!r} without a class; add a column `label`")
    if absent:
        raise InputError(
            f"{name} lists {len(absent)} images that are not there, {printable(absent[0])!r} the first; add them, or"
            " take them off the list"
        )
    return {own: list(images) for own, images in classes.items()}


def _label_column(name: str, header: list[str], width: int, column: int) -> int | None:
    """Which column has the class; None where there is but one."""
    for word in _LABELS:
        if word in header and header.index(word) != column:
            return header.index(word)
    if width == 1:
        return None
    if width == 2:
        return 1 - column
    raise InputError(f"{name} has {width} columns and none called label; call the one with the classes so")


def _refuse_shared_classes(read: Lists) -> None:
    split_of: dict[str, str] = {}
    for split, classes in read.images.items():
        for label in classes:
            if split_of.setdefault(label, split) != split:
                raise _shared(label, split_of[label], split)


def _shared(label: str, one: str, other: str) -> InputError:
    return InputError(
        f"class {printable(label)} is in the lists of {one} and {other}; few-shot splits share no class: mend the lists,"
        " or give --divide to divide the classes at random"
    )


def layout_of(read: Lists, by_class: Mapping[str, list[str]]) -> Layout:
    """The splits that lists of classes make of classes.

    Args:
        by_class: images of each class by its name.
    """
    return {
        split: {label: images for label, images in by_class.items() if read.classes.get(label) == split}
        for split in SPLITS
    }
