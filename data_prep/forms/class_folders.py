"""Which folders of a tree are classes, and which lie inside or around classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from data_prep.fetching.left_out import LeftOut
from data_prep.formats.names import words
from data_prep.forms.folders import Folder, means_images
from fewshot.errors import InputError

Level = Literal["auto", "first", "last", "name"]
"""Which folder on the way to an image is its class. first: the outermost; last: the innermost, named with its parents
where equal names lie under several; name: the innermost, and equal names are one class."""

_INSIDE = words(
    "session sessions sess seq sequence sequences video videos vid clip clips take takes shot shots scene scenes day",
    "days date dates visit scan scans camera cameras cam cams view views angle angles pose poses part parts batch",
    "batches set subset round run runs trial trials fold recording recordings rec roll burst frame frames track tracks",
    "instance instances left right front back top bottom side indoor outdoor",
)
_CLASS = words("character char letter symbol glyph sign digit class cls species category breed type kana kanji rune")
_DATE = re.compile(r"\D?(19|20)\d\d[-_. ]?[01]\d[-_. ]?[0-3]\d(\D.*)?")
_NUMBERED = re.compile(r"([^\W\d_]+)[-_ .]?\d+")
_WNID = re.compile(r"n\d{8}")
_OUTSIDE = "an image outside of any class folder"


@dataclass(frozen=True)
class Classes:
    """The classes of one part of a dataset, and the rules that made them.

    Attributes:
        files: images by the path of their class: the names of its folders.
        rules: in words, as often as they were used.
    """

    files: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)

    def add(self, path: tuple[str, ...], files: Iterator[str] | list[str], rule: str) -> None:
        """Put images into a class."""
        self.files.setdefault(path, []).extend(files)
        self.rules[rule] += 1


def classes_below(root: Folder, level: Level, left_out: LeftOut) -> Classes:
    """Find the classes below a folder.

    A folder with images and no subfolders is a class. Subfolders of a class are told from classes by their names:
    `session0` and `2021-05-06` belong to the folder around them, `cat` and `character01` do not.

    Args:
        root: the folder of a split, or of everything.
        level: which folders are classes; auto decides by their names.
        left_out: told the images that lie in no class.

    Raises:
        InputError: where names do not tell, with the options that do.
    """
    for name in root.files:
        left_out.add(name, _OUTSIDE)
    top = Folder(root.name, root.path, [], root.kids)
    while level == "auto" and top.is_wrapper() and _may_unwrap(top.only_kid()):
        top = top.only_kid()
    parents = Counter(name for folder in _with_kids(top) for name in folder.kids)
    classes = Classes()
    around = level == "auto" and len(top.kids) > 1 and any(kid.kids for kid in top.kids.values())
    if around and all(_kind(name) == "inside" for name in top.kids):
        raise _unclear(top, f"{_some(top)} look like parts of classes, but lie around them")
    for kid in top.kids.values():
        _visit(kid, (kid.stem,), level, parents, classes)
    return classes


def _visit(folder: Folder, path: tuple[str, ...], level: Level, parents: Counter[str], classes: Classes) -> None:
    if not folder.kids:
        classes.add(path, folder.files, "each folder of images is a class")
    elif level == "first" or (level == "auto" and _is_class(folder, parents)):
        classes.add(path, folder.images(), "subfolders belong to the class around them")
    else:
        if folder.files and level == "auto":
            raise _unclear(folder, f"{folder.path} has images of its own and in {_some(folder)}")
        if folder.files:
            classes.add(path, folder.files, "each folder of images is a class")
        for kid in folder.kids.values():
            _visit(kid, (*path, kid.stem), level, parents, classes)


def _is_class(folder: Folder, parents: Counter[str]) -> bool:
    """Whether subfolders belong to the folder around them.

    Raises:
        InputError: where their names do not tell.
    """
    kinds = {name: _kind(name) for name in folder.kids}
    inside = [
        name
        for name, kind in kinds.items()
        if kind == "inside" or (kind == "perhaps inside" and (len(kinds) == 1 or parents[name] > 1))
    ]
    if len(inside) == len(kinds):
        return True
    if not inside and all(kind in ("class", "perhaps inside") for kind in kinds.values()):
        return False
    raise _unclear(folder, f"{folder.path} has the subfolders {_some(folder)}: classes, or parts of one class")


def _kind(name: str) -> str:
    """What the name of a subfolder says about it."""
    if _DATE.fullmatch(name):
        return "inside"
    words = re.findall(r"[^\W\d_]+", name.casefold())
    if not words:
        return "unclear"
    if words[0] in _INSIDE and (len(words) == 1 or len(words[1]) < 3):
        return "inside" if re.search(r"\d", name) or len(words) > 1 else "perhaps inside"
    if means_images(name):
        return "perhaps inside"
    numbered = _NUMBERED.fullmatch(name.casefold())
    if numbered and numbered[1] not in _CLASS and not _WNID.fullmatch(name):
        return "unclear"
    return "class"


def _may_unwrap(folder: Folder) -> bool:
    """Whether the only folder at the top is one around the classes rather than a class."""
    while len(folder.kids) == 1 and not folder.files:
        folder = folder.only_kid()
    return bool(folder.kids) and not all(_kind(name).endswith("inside") for name in folder.kids)


def _with_kids(folder: Folder) -> Iterator[Folder]:
    if folder.kids:
        yield folder
        for kid in folder.kids.values():
            yield from _with_kids(kid)


def _some(folder: Folder) -> str:
    names = sorted(folder.kids)
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _unclear(folder: Folder, what: str) -> InputError:
    return InputError(
        f"{what}; say which with --class-folder first (the outermost folder is the class), last (the innermost, named"
        " with its parents where names are equal) or name (the innermost, equal names are one class)"
    )


def named(paths: list[tuple[str, ...]], level: Level) -> dict[tuple[str, ...], str]:
    """Names of classes: their folders', with as many folders around them as it takes to tell all apart."""
    depth = 1
    if level != "name":
        distinct = len(set(paths))
        while len({path[-depth:] for path in paths}) < distinct:
            depth += 1
    return {path: "/".join(path[-depth:]) for path in paths}
