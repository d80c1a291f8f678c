"""Lists that say which images are in which split and class: `train.csv`, `base.json`, `test.txt`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from data_prep.fetching.found import Found
from data_prep.formats.sources import printable
from data_prep.forms.splits import split_of, splits_among
from data_prep.forms.tables import ENDINGS, read_table
from fewshot.data.store import SPLITS
from fewshot.errors import InputError

_LABELS = (
    *("label", "label_name", "class_name", "class", "classname", "category", "wnid", "synset", "species", "breed"),
    *("target", "labels", "y"),
)
_SPLITS = ("split", "set", "subset", "partition", "phase")
_SAMPLE = 50
_LONGEST = 1000


@dataclass
class Lists:
    """What the lists of a dataset say.

    Attributes:
        files: split of each list, by its name in the listing; "" for one list of everything.
        images: of each split: its images by class, where the lists name images; all under "" where they are not split.
        classes: split of each class, where the lists name classes.
    """

    files: dict[str, str]
    images: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """The lists, in words."""
        return ", ".join(self.files)


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


def lists_in(
    found: Found, is_left_out: Callable[[str], bool] = lambda name: False, whole: bool = False
) -> dict[str, str]:
    """The lists of splits in a listing, with their splits.

    Args:
        found: the listing.
        is_left_out: names that do not count.
        whole: whether every split must have one.

    Raises:
        InputError: where there are several of one split, or none of another.
    """
    by_folder: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name in found.names:
        if name.lower().endswith(ENDINGS) and not is_left_out(name):
            folder, _, file = name.rpartition("/")
            by_folder[folder][name] = file.rpartition(".")[0]
    lists: dict[str, str] = {}
    for files in by_folder.values():
        splits = splits_among(set(files.values()))
        lists |= {name: splits[stem] for name, stem in files.items() if stem in splits}
    for split in SPLITS if lists else ():
        several = [name for name, own in lists.items() if own == split]
        if len(several) > 1:
            raise InputError(
                f"{found.path} has several lists of {split}: {several[0]} and {several[1]}; leave out what does not"
                f" count, with --leave-out {several[1]!r}"
            )
        if whole and not several:
            raise InputError(
                f"{found.path} has {', '.join(lists)} but no list of the {split} split; add it, or leave the lists out"
                f" with --leave-out {next(iter(lists))!r}"
            )
    return {name: split for split in SPLITS for name, own in lists.items() if own == split}


def the_one_list(found: Found, names: Iterable[str]) -> dict[str, str]:
    """The only list among some names, for all splits, as `lists_in` gives them; empty where there are more, or none."""
    lists = [name for name in names if name.lower().endswith(ENDINGS) and "readme" not in name.lower()]
    return {lists[0]: ""} if len(lists) == 1 else {}


def read_lists(found: Found, lists: Mapping[str, str], images: Iterable[str], divide: bool) -> Lists:
    """Read lists and find what they name.

    Args:
        found: the listing they stand in.
        lists: split of each, by name.
        images: names of all images.
        divide: put all splits together.

    Raises:
        InputError: where one cannot be read or names what is not there, or where two disagree.
    """
    read = Lists(dict(lists))
    images = list(images)
    names = ImageNames(images)
    folders = {part for image in images for part in image.split("/")[:-1]}
    for name, source in found.sources(frozenset(lists)):
        _read(read, name, "" if divide else lists[name], read_table(source), names, folders)
    if read.images and read.classes:
        raise InputError(f"of the lists {read.told}, some name images and some name classes; give one kind")
    read.images = {split: read.images[split] for split in ("", *SPLITS) if split in read.images}
    _refuse_shared(read)
    return read


def _read(read: Lists, name: str, split: str, rows: list[list[str]], names: ImageNames, folders: set[str]) -> None:
    if (column := _column(rows, lambda text: names.find(text) is not None)) is not None:
        for own, label, image in _images(name, rows, column, names):
            read.images.setdefault(split or own, {}).setdefault(label, []).append(image)
    elif (column := _column(rows, folders.__contains__)) is not None:
        body = rows if rows[0][column] in folders else rows[1:]
        for label in dict.fromkeys(row[column] for row in body):
            if label not in folders:
                raise InputError(f"{name} lists the class {printable(label)!r}, which has no folder; mend the list")
            if read.classes.setdefault(label, split) != split:
                raise _shared(label, read.classes[label], split)
    else:
        raise InputError(
            f"{name} looks like a list, but names no image or class that is there"
            f" ({printable(' | '.join(rows[-1]))!r}, say); mend it, or leave it out with --leave-out {name!r}"
        )


def _column(rows: list[list[str]], known: Callable[[str], bool]) -> int | None:
    """The first column with the most values that are known among some rows after the first."""
    sample = rows[1 : 1 + _SAMPLE] or rows
    hits = [sum(known(row[column]) for row in sample) for column in range(len(rows[0]))]
    best = max(range(len(hits)), key=lambda column: hits[column])
    return best if hits[best] else None


def _images(name: str, rows: list[list[str]], column: int, names: ImageNames) -> Iterator[tuple[str, str, str]]:
    """Split (where the list has a column for it), class and name of each image in a list, each image once."""
    header = [] if names.find(rows[0][column]) else [cell.casefold() for cell in rows[0]]
    labels = _label_column(name, header, len(rows[0]), column)
    splits = next((header.index(word) for word in _SPLITS if word in header), None)
    absent, seen = [], set()
    for row in rows[1:] if header else rows:
        text = "" if labels is None else printable(row[labels], _LONGEST)
        image = names.find(row[column], text)
        label = text or ("" if image is None else "/".join(image.split("/")[-2:-1]))
        split = "" if splits is None else split_of(row[splits])
        if image is None:
            absent.append(row[column])
        elif not label:
            raise InputError(f"{name} names {printable(row[column])!r} without a class; add a column `label`")
        elif split is None:
            raise InputError(f"{name} has the split {printable(row[splits or 0])!r}; call it train, val or test")
        elif (split, label, image) not in seen:
            seen.add((split, label, image))
            yield split, label, image
    if absent:
        raise InputError(
            f"{name} lists {len(absent)} images that are not there, {printable(absent[0])!r} the first; add them, or"
            " take them off the list"
        )


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


def _refuse_shared(read: Lists) -> None:
    """Refuse classes in two splits, and images in two classes."""
    split_of_class: dict[str, str] = {}
    class_of: dict[str, str] = {}
    for split, classes in read.images.items():
        for label in classes:
            if split_of_class.setdefault(label, split) != split:
                raise _shared(label, split_of_class[label], split)
    for classes in read.images.values():
        for label, images in classes.items():
            for image in images:
                if class_of.setdefault(image, label) != label:
                    raise InputError(f"{image} is of class {class_of[image]} and of {label} by the lists; mend them")


def _shared(label: str, one: str, other: str) -> InputError:
    return InputError(
        f"class {printable(label)} is in the lists of {one} and {other}; few-shot splits share no class: mend the"
        " lists, or give --divide to divide the classes at random"
    )
