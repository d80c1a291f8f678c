"""Folders that are the splits of a dataset."""

from __future__ import annotations

from collections import Counter, defaultdict

from data_prep.forms.folders import Folder, all_folders
from data_prep.forms.splits import KNOWN, looks_like_split, splits_among
from fewshot.data.store import SPLITS
from fewshot.errors import InputError


def split_folders(root: Folder, where: str) -> dict[str, Folder]:
    """The folder of each split; empty where there are none.

    Args:
        root: of everything.
        where: how errors call it.

    Raises:
        InputError: where one is missing, there are two of one, or a folder looks like one and does not fit.
    """
    around = _around_splits(root, where)
    if around is None:
        return {}
    names = _splits_in(around)
    by_split: defaultdict[str, list[str]] = defaultdict(list)
    for name, split in names.items():
        by_split[split].append(name)
    for name in around.kids:
        if name not in names and looks_like_split(name):
            raise InputError(
                f"{around.kids[name].path} in {where} lies beside {', '.join(names)} and looks like a split, but is"
                f" none of {KNOWN}; rename it, or leave it out with --leave-out {name!r}"
            )
    for split in SPLITS:
        if len(several := by_split[split]) > 1:
            raise InputError(
                f"{' and '.join(several)} in {where} are both names of the {split} split; rename one, or leave it out"
                f" with --leave-out {several[1]!r}"
            )
        if not several:
            raise InputError(
                f"{where} has no images in {split}/CLASS, only in {', '.join(names)}; add them, or give --divide to put"
                " all classes together and divide them at random"
            )
    return {split: _unwrapped(around.kids[by_split[split][0]]) for split in SPLITS}


def refuse_unknown_splits(root: Folder, where: str) -> None:
    """Refuse folders of folders that have the names of splits, nearly, where there are no splits.

    Args:
        root: of all images.
        where: how an error calls it.

    Raises:
        InputError: naming the first of them.
    """
    for folder in all_folders(root):
        for name, kid in folder.kids.items():
            if looks_like_split(name) and kid.kids:
                raise InputError(
                    f"{kid.path} in {where} looks like a split, but is none of {KNOWN}; rename it, leave it out with"
                    f" --leave-out {name!r}, or give --divide to divide all classes at random"
                )


def without_splits(folder: Folder) -> Folder:
    """The same tree with folders of splits dissolved in the ones around them; a class may be called so at the top."""
    merged = Folder(folder.name, folder.path, list(folder.files))
    splits = splits_among(folder.kids)
    for name, kid in folder.kids.items():
        inner = without_splits(kid)
        is_split = name in splits and (kid.kids or folder.path)
        _merge(merged, inner if is_split else Folder("", "", [], {name: inner}))
    return merged


def _around_splits(root: Folder, where: str) -> Folder | None:
    """The folder whose subfolders are splits; None where there is none.

    Raises:
        InputError: where there are several.
    """
    having: list[Folder] = []
    for folder in all_folders(root):  # outer ones come first
        if _splits_in(folder) and not any(_is_in(folder, other) for other in having):
            having.append(folder)
    if len(having) < 2:
        return having[0] if having else None
    names = Counter(name for folder in having for name in _splits_in(folder))
    if not any(kid.kids for folder in having for kid in folder.kids.values()):
        name, count = names.most_common(1)[0]
        raise InputError(
            f"{where} has a folder {name} in {count} classes, so that its splits share classes; few-shot splits share"
            " none: give --divide to put the images of a class together and divide the classes at random"
        )
    one, other = having[0].path, having[1].path
    raise InputError(
        f"split folders lie in {one} and in {other}; give one of the two with --from, or leave the other out, as with"
        f" --leave-out {other!r}"
    )


def _splits_in(folder: Folder) -> dict[str, str]:
    """The subfolders that are splits. One alone that has images and no folders, among others like it, is a class."""
    splits = splits_among(folder.kids)
    flat = not any(kid.kids for kid in folder.kids.values())
    return {} if len(splits) == 1 and len(folder.kids) > 2 and flat else splits


def _is_in(inner: Folder, outer: Folder) -> bool:
    return not outer.path or inner.path.startswith(f"{outer.path}/")


def _unwrapped(folder: Folder) -> Folder:
    """`train.zip/train` is `train`."""
    while folder.is_wrapper() and splits_among(folder.kids):
        folder = folder.only_kid()
    return folder


def _merge(into: Folder, other: Folder) -> None:
    into.files.extend(other.files)
    for name, kid in other.kids.items():
        if name in into.kids:
            _merge(into.kids[name], kid)
        else:
            into.kids[name] = kid
