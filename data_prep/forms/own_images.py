"""Anybody's own images, as they keep them: split folders, lists, or classes to be divided at random."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_prep.fetching.found import Found
from data_prep.fetching.left_out import LeftOut
from data_prep.forms.candidates import images_among, matches, without_copies, without_unwanted
from data_prep.forms.class_folders import Classes, Level, classes_below, named
from data_prep.forms.folders import Folder, all_folders, drop_masks, means_images, tree_of
from data_prep.forms.split_folders import refuse_unknown_splits, split_folders, without_splits
from data_prep.forms.split_lists import Lists, lists_in, read_lists, the_one_list
from data_prep.forms.splits import splits_among
from data_prep.forms.trees import in_order
from data_prep.preparing.plan import Layout
from fewshot.data.store import SPLITS
from fewshot.errors import InputError

_NAMED = 20
_USUAL_WAY = 5


@dataclass(frozen=True)
class Wishes:
    """What the user says about the images.

    Attributes:
        level: which folders are classes.
        divide: put the classes of all splits together and divide them at random.
        val: share of the classes for validation, where they are divided at random.
        test: share for testing, likewise.
        seed: decides which classes go where, likewise.
        fewest: images that a class must have to be used.
        leave_out: patterns of the names of files and folders that are not used.
    """

    level: Level = "auto"
    divide: bool = False
    val: float = 0.16
    test: float = 0.2
    seed: int = 0
    fewest: int = 1
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Understanding:
    """What a listing is taken for.

    Attributes:
        layout: images by class by split.
        rules: how classes and splits were made, in words.
        left_out: what is not used.
        lists: the lists that were read.
    """

    layout: Layout
    rules: tuple[str, ...]
    left_out: LeftOut
    lists: frozenset[str] = frozenset()


def understand(found: Found, wishes: Wishes) -> Understanding | None:
    """Find the images, classes and splits in a listing; None where there are no images.

    Raises:
        InputError: where the listing may be understood in two ways, a split is missing, or splits share a class; with
            the ways out.
    """
    left_out = LeftOut(found.left_out)
    names = without_copies(found, without_unwanted(found, wishes.leave_out, left_out), left_out)
    lists = lists_in(found, lambda name: matches(name, wishes.leave_out), whole=True)
    images = images_among(found, names, left_out)
    if not images:
        return None
    root = tree_of(images)
    drop_masks(root, left_out)
    _refuse_two_trees(root)
    if not lists and _is_flat(root):
        lists = the_one_list(found, names)
    read = read_lists(found, lists, root.images(), wishes.divide) if lists else None
    for name in lists:
        left_out.take_back(name)
    layout, rules = _layout(found, root, wishes, read, left_out)
    _check(found, layout)
    return Understanding(in_order(layout), rules, left_out, frozenset(lists))


def _layout(
    found: Found, root: Folder, wishes: Wishes, read: Lists | None, left_out: LeftOut
) -> tuple[Layout, tuple[str, ...]]:
    """Images by class by split, and the rules that made them."""
    where = str(found.path)
    folders = {} if wishes.divide else split_folders(root, where)
    if folders:
        layout, rules = _by_folders(root, folders, wishes, left_out)
        if read is not None:
            _refuse_disagreement(layout, read)
            rules = (*rules, f"the lists {read.told} agree with the folders")
    elif read is not None and read.images:
        layout, rules = _by_lists(root, read, left_out)
    else:
        layout, rules = _by_classes(root, where, wishes, read, left_out)
    layout, small = _without_small(layout, wishes, left_out)
    rules = (*rules, *small)
    if set(layout) == {""}:
        return _divided(layout[""], wishes, where), (*rules, *_random(len(layout[""]), wishes))
    return layout, rules


def _by_folders(
    root: Folder, folders: Mapping[str, Folder], wishes: Wishes, left_out: LeftOut
) -> tuple[Layout, tuple[str, ...]]:
    inside = {image for folder in folders.values() for image in folder.images()}
    for image in root.images():
        if image not in inside:
            left_out.add(image, "beside the split folders")
    classes = {split: classes_below(folder, wishes.level, left_out) for split, folder in folders.items()}
    layout, rules = _labelled(classes, wishes.level)
    return layout, (*rules, f"split by the folders {', '.join(folder.path for folder in folders.values())}")


def _by_lists(root: Folder, read: Lists, left_out: LeftOut) -> tuple[Layout, tuple[str, ...]]:
    used = {image for classes in read.images.values() for images in classes.values() for image in images}
    for image in root.images():
        if image not in used:
            left_out.add(image, "in none of the lists")
    rules = (f"classes: as in the lists {read.told}",)
    return read.images, rules if set(read.images) == {""} else (*rules, f"split by the lists {read.told}")


def _by_classes(
    root: Folder, where: str, wishes: Wishes, read: Lists | None, left_out: LeftOut
) -> tuple[Layout, tuple[str, ...]]:
    """Class folders without folders of splits: split by lists of classes, or all under "", to be divided."""
    if wishes.divide:
        root = without_splits(root)
    else:
        refuse_unknown_splits(root, where)
    layout, rules = _labelled({"": classes_below(root, wishes.level, left_out)}, wishes.level)
    if not layout[""]:
        raise InputError(
            f"the images in {where} lie in no class folders; give one folder a class, or lists train.csv, val.csv and"
            " test.csv with columns filename and label"
        )
    if read is None or wishes.divide:
        return layout, rules
    for label, images in layout[""].items():
        if label not in read.classes:
            for image in images:
                left_out.add(image, "its class is in none of the lists")
    splits = {
        split: {label: images for label, images in layout[""].items() if read.classes.get(label) == split}
        for split in SPLITS
    }
    return splits, (*rules, f"split by the lists {read.told}")


def _labelled(classes: Mapping[str, Classes], level: Level) -> tuple[Layout, tuple[str, ...]]:
    """Images by the names of their classes, and the rules that made those, in words."""
    labels = named([path for part in classes.values() for path in part.files], level)
    layout: dict[str, dict[str, list[str]]] = {}
    for split, part in classes.items():
        own: defaultdict[str, list[str]] = defaultdict(list)
        for path, files in part.files.items():
            own[labels[path]].extend(files)
        layout[split] = dict(own)
    parents = any("/" in label for label in labels.values())
    told = " (equal names lie under several folders: each is named with its own)" if parents else ""
    rules = sum((part.rules for part in classes.values()), Counter[str]())
    return layout, tuple(f"classes: {rule}{told}" for rule in rules)


def _is_flat(root: Folder) -> bool:
    """Whether all images lie in one folder."""
    return sum(bool(folder.files) for folder in all_folders(root)) == 1


def _refuse_two_trees(root: Folder) -> None:
    """`images/` beside another folder of the same classes, that is not known to hold masks."""
    for folder in all_folders(root):
        for name in filter(means_images, folder.kids):
            own = set(folder.kids[name].kids)
            same = [kid for kid in folder.kids.values() if kid.name != name and len(own & set(kid.kids)) > 1]
            if same and not splits_among(folder.kids):
                raise InputError(
                    f"{folder.kids[name].path} and {same[0].path} have folders of the same names; leave out what does"
                    f" not count, as with --leave-out {same[0].name!r}"
                )


def _refuse_disagreement(layout: Layout, read: Lists) -> None:
    """Lists beside split folders must say the same."""
    split_of = {image: split for split, classes in layout.items() for own in classes.values() for image in own}
    listed = {image: split for split, classes in read.images.items() for own in classes.values() for image in own}
    split_of |= {f"class {label}": split for split, classes in layout.items() for label in classes}
    listed |= {f"class {label}": split for label, split in read.classes.items()}
    for what, split in listed.items():
        if split_of.get(what, split) != split:
            raise InputError(
                f"{what} is in {split_of[what]} by its folder and in {split} by a list; leave the lists out with"
                " --leave-out, or move the images"
            )


def _without_small(layout: Layout, wishes: Wishes, left_out: LeftOut) -> tuple[Layout, tuple[str, ...]]:
    """The layout without small classes, and a line that names those."""
    small = {label: own for classes in layout.values() for label, own in classes.items() if len(own) < wishes.fewest}
    for images in small.values():
        for image in images:
            left_out.add(image, f"its class has fewer than {wishes.fewest} images")
    kept = {
        split: {label: images for label, images in classes.items() if label not in small}
        for split, classes in layout.items()
    }
    named = ", ".join(f"{label} ({len(images)})" for label, images in list(small.items())[:_NAMED])
    more = f", and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
    told = f"{len(small)} classes of fewer than {wishes.fewest} images are left out: {named}{more}"
    return kept, (told,) if small else ()


def _check(found: Found, layout: Layout) -> None:
    """Every split has classes, none shares one, and no file is there twice."""
    seen: dict[str, str] = {}
    where: dict[str, str] = {}
    for split in SPLITS:
        if not layout.get(split):
            raise InputError(f"{found.path} leaves no classes for the {split} split; add some, or give --divide")
        for label, images in layout[split].items():
            if seen.setdefault(label, split) != split:
                raise InputError(
                    f"class {label} is in {seen[label]} and in {split}; few-shot splits share no class: move one, or"
                    " give --divide to put the images of a class together and divide the classes at random"
                )
            for image in images if found.real else ():
                if where.setdefault(found.where(image), image) != image:
                    raise InputError(
                        f"{where[found.where(image)]} and {image} are one file, by links; leave one of the two out"
                    )


def _random(count: int, wishes: Wishes) -> list[str]:
    """What is told of a random division."""
    told = [f"divided at random, seed {wishes.seed}"]
    held_out = min(round(wishes.val * count), round(wishes.test * count))
    if held_out < _USUAL_WAY <= count // 3:
        share = -(-100 * _USUAL_WAY // count) / 100
        told.append(
            f"no more than --way {held_out} is possible with these shares; --val {share} --test {share} leave"
            f" {_USUAL_WAY} classes each for --way {_USUAL_WAY}"
        )
    return told


def _divided(classes: Mapping[str, list[str]], wishes: Wishes, where: str) -> Layout:
    """Divide the classes at random, by the seed and nothing else."""
    held_out = {"val": round(wishes.val * len(classes)), "test": round(wishes.test * len(classes))}
    if min(held_out.values()) < 1 or sum(held_out.values()) >= len(classes):
        raise InputError(
            f"{len(classes)} classes are too few to divide ({', '.join(sorted(classes)[:3])}, … in {where}); give more,"
            " other shares with --val and --test, or train/, val/ and test/ folders"
        )
    order = np.argsort(np.random.Philox(key=wishes.seed).random_raw(len(classes)), kind="stable")
    names = [sorted(classes)[place] for place in order]
    parts = {"val": names[: held_out["val"]], "test": names[held_out["val"] : sum(held_out.values())]}
    parts["train"] = names[sum(held_out.values()) :]
    return {split: {name: classes[name] for name in sorted(parts[split])} for split in SPLITS}
