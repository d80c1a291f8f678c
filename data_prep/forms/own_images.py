"""Anybody's own images, as they keep them: split folders, lists, or classes to be divided at random."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from data_prep.fetching.found import Found
from data_prep.fetching.left_out import LeftOut, extension
from data_prep.forms.class_folders import Level, classes_below, named
from data_prep.forms.folders import Folder, drop_masks, means_images, tree_of
from data_prep.forms.split_lists import Lists, layout_of, lists_in, read_lists
from data_prep.forms.splits import KNOWN, looks_like_split, splits_among
from data_prep.forms.trees import in_order
from data_prep.formats.images import image_endings, is_image
from data_prep.preparing.plan import Layout
from fewshot.data.store import SPLITS
from fewshot.errors import InputError

_HEAD = 512
_KNOWN_TO_BE_NONE = frozenset(
    ".txt .csv .tsv .json .jsonl .xml .yaml .yml .md .rst .html .htm .npy .npz .mat .pkl .pickle .h5 .hdf5 .py .ipynb"
    " .pdf .doc .docx .xls .xlsx .mp4 .avi .mov .mkv .wav .mp3 .log .lst .db .sqlite .ini .cfg .sh .m .svg .pt .pth"
    " .safetensors .lock .sha256 .md5".split()
)
_PACKED = frozenset([".rar", ".7z", ".gz", ".bz2", ".xz", ".zst"])
_PER_CLASS = (
    "{path} has a folder {name} in {parents} classes, so that its splits share classes; few-shot splits share none: give"
    " --divide to put the images of a class together and divide the classes at random"
)


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
    """

    layout: Layout
    rules: tuple[str, ...]
    left_out: LeftOut


def understand(found: Found, wishes: Wishes) -> Understanding | None:
    """Find the images, classes and splits in a listing; None where there are no images.

    Raises:
        InputError: where the listing may be understood in two ways, a split is missing, or splits share a class; with
            the ways out.
    """
    left_out = LeftOut(found.left_out)
    names = _without_copies(found, _wanted(found, wishes, left_out), left_out)
    lists = {} if wishes.divide else {n: s for n, s in lists_in(found).items() if not _matches(n, wishes.leave_out)}
    images = _images(found, names, left_out, lists)
    if not images:
        return None
    root = tree_of(images)
    drop_masks(root, left_out)
    _refuse_two_trees(root)
    split_folder = None if wishes.divide else _split_folder(root, root, found)
    read = read_lists(found, lists, root.images()) if lists else None
    if split_folder is not None:
        result = _in_split_folders(found, root, split_folder, wishes.level, left_out)
        _refuse_other_lists(result, read)
    elif read is not None and read.images:
        result = _listed(found, root, read, left_out)
    else:
        result = _in_class_folders(found, root, wishes, read, left_out)
    layout = _without_small(result.layout, wishes, left_out)
    _check(found, layout)
    return Understanding(in_order(layout), result.rules, left_out)


def _wanted(found: Found, wishes: Wishes, left_out: LeftOut) -> list[str]:
    """Names that the user does not leave out."""
    if not wishes.leave_out:
        return list(found.names)
    kept = []
    for name in found.names:
        if _matches(name, wishes.leave_out):
            left_out.add(name, "left out by --leave-out")
        else:
            kept.append(name)
    return kept


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(
        fnmatchcase(part, pattern.strip("/")) for pattern in patterns for part in (name, *name.split("/"))
    ) or any(name.startswith(f"{pattern.strip('/')}/") for pattern in patterns)


def _without_copies(found: Found, names: list[str], left_out: LeftOut) -> list[str]:
    """Leave out archives whose content lies unpacked beside them."""
    copies = set()
    for archive in found.archives():
        folder = archive.rpartition("/")[0]
        stem = archive.rpartition("/")[2].partition(".")[0]
        inside = [name[len(archive) + 1 :] for name in found.names if name.startswith(f"{archive}/")]
        for place in (folder, f"{folder}/{stem}".lstrip("/")):
            if inside and all(f"{place}/{name}".lstrip("/") in found.names for name in inside):
                copies.add(archive)
    if not copies:
        return names
    kept = []
    for name in names:
        if any(name.startswith(f"{archive}/") for archive in copies):
            left_out.add(name, "in an archive whose content lies unpacked beside it")
        else:
            kept.append(name)
    return kept


def _images(found: Found, names: list[str], left_out: LeftOut, lists: Collection[str]) -> list[str]:
    """The names of images, by their endings, or by their first bytes where they have no ending that is known."""
    endings = image_endings()
    kinds = {name: extension(name) for name in names}
    unknown = {name for name, kind in kinds.items() if kind not in endings and kind not in _KNOWN_TO_BE_NONE}
    by_content = set()
    for name, source in found.sources(unknown) if unknown else ():
        with source.open() as stream:
            if is_image(stream.read(_HEAD)):
                by_content.add(name)
    for name, kind in kinds.items():
        if kind in _PACKED and name not in by_content:
            left_out.add(name, "packed in a way that is not read here; unpack it")
        elif kind not in endings and name not in by_content and name not in lists:
            left_out.add(name, "no image that Pillow reads")
    return [name for name, kind in kinds.items() if kind in endings or name in by_content]


def _refuse_two_trees(root: Folder) -> None:
    """`images/` beside another folder of the same classes, that is not known to hold masks."""
    for folder in _folders(root):
        for name in filter(means_images, folder.kids):
            same = [
                other
                for other, kid in folder.kids.items()
                if other != name and len(set(kid.kids) & set(folder.kids[name].kids)) > 1
            ]
            if same and not splits_among(folder.kids):
                raise InputError(
                    f"{folder.kids[name].path} and {folder.kids[same[0]].path} have folders of the same names; leave out"
                    f" what does not count, as with --leave-out {same[0]!r}"
                )


def _folders(folder: Folder) -> Iterable[Folder]:
    yield folder
    for kid in folder.kids.values():
        yield from _folders(kid)


def _split_folder(folder: Folder, root: Folder, found: Found) -> Folder | None:
    """The folder whose subfolders are splits; None where there is none.

    Raises:
        InputError: where there are several.
    """
    having = [one for one in _folders(folder) if _splits_in(one)]
    outermost = [one for one in having if not any(one is not other and _is_in(one, other) for other in having)]
    if len(outermost) > 1:
        names = Counter(name for one in outermost for name in _splits_in(one))
        name, parents = names.most_common(1)[0]
        if all(not kid.kids for one in outermost for kid in one.kids.values()):
            raise InputError(_PER_CLASS.format(path=found.path, name=name, parents=parents))
        raise InputError(
            f"split folders lie in {outermost[0].path} and in {outermost[1].path}; give one of the two with --from, or"
            f" leave the other out, as with --leave-out {outermost[1].path!r}"
        )
    return outermost[0] if outermost else None


def _is_in(inner: Folder, outer: Folder) -> bool:
    return not outer.path or inner.path.startswith(f"{outer.path}/")


def _splits_in(folder: Folder) -> dict[str, str]:
    """The subfolders that are splits. One alone that has images and no folders, among others like it, is a class."""
    found = splits_among(folder.kids)
    if len(found) == 1 and len(folder.kids) > 2 and not any(kid.kids for kid in folder.kids.values()):
        return {}
    return found


def _in_split_folders(
    found: Found, root: Folder, around: Folder, level: Level, left_out: LeftOut
) -> Understanding:
    splits = _splits_in(around)
    for name, kid in around.kids.items():
        if name not in splits and looks_like_split(name):
            raise InputError(
                f"{kid.path} lies beside {', '.join(splits)} and looks like a split, but is none of {KNOWN}; rename it, or"
                f" leave it out with --leave-out {name!r}"
            )
    by_split: defaultdict[str, list[str]] = defaultdict(list)
    for name, split in splits.items():
        by_split[split].append(name)
    for split, names in by_split.items():
        if len(names) > 1:
            raise InputError(
                f"{' and '.join(names)} in {found.path} are both names of the {split} split; rename one, or leave it out"
                f" with --leave-out {names[1]!r}"
            )
    for split in SPLITS:
        if split not in by_split:
            raise InputError(
                f"{found.path} has no images in {split}/CLASS, only in {', '.join(splits)}; add them, or give --divide to"
                " put all classes together and divide them at random"
            )
    inside = {image for name in splits for image in around.kids[name].images()}
    for image in root.images():
        if image not in inside:
            left_out.add(image, "beside the split folders")
    parts = {by_split[split][0]: split for split in SPLITS}
    classes = {parts[name]: classes_below(_unwrapped(around.kids[name]), level, left_out) for name in parts}
    labels = named([path for one in classes.values() for path in one.files], level)
    layout: dict[str, dict[str, list[str]]] = {}
    for split, one in classes.items():
        own: defaultdict[str, list[str]] = defaultdict(list)
        for path, files in one.files.items():
            own[labels[path]].extend(files)
        layout[split] = dict(own)
    rules = sum((one.rules for one in classes.values()), Counter())
    folders = ", ".join(around.kids[name].path or name for name in parts)
    return Understanding(layout, (*_told(rules, labels), f"split by the folders {folders}"), left_out)


def _unwrapped(folder: Folder) -> Folder:
    """`train.zip/train` is `train`."""
    while folder.is_wrapper() and splits_among(folder.kids):
        folder = folder.only_kid()
    return folder


def _told(rules: Mapping[str, int], labels: Mapping[tuple[str, ...], str]) -> tuple[str, ...]:
    """The rules that made classes, in words."""
    depth = max((label.count("/") for label in labels.values()), default=0)
    parents = " (equal names lie under several folders: each is named with its own)" if depth else ""
    return tuple(f"classes: {rule}{parents}" for rule in rules)


def _listed(found: Found, root: Folder, read: Lists, left_out: LeftOut) -> Understanding:
    if missing := read.missing():
        raise InputError(
            f"{found.path} has {', '.join(read.files)} but no list of the {missing[0]} split; add it, or give --divide"
        )
    used = {image for classes in read.images.values() for images in classes.values() for image in images}
    for image in root.images():
        if image not in used:
            left_out.add(image, "in none of the lists")
    rules = (f"classes: as in the lists {', '.join(read.files)}", f"split by the lists {', '.join(read.files)}")
    return Understanding(read.images, rules, left_out)


def _in_class_folders(
    found: Found, root: Folder, wishes: Wishes, read: Lists | None, left_out: LeftOut
) -> Understanding:
    if wishes.divide:
        root = _without_splits(root)
    looks = [name for folder in _folders(root) for name, kid in folder.kids.items() if looks_like_split(name) and kid.kids]
    if looks and not wishes.divide:
        raise InputError(
            f"{looks[0]} in {found.path} looks like a split, but is none of {KNOWN}; rename it, leave it out with"
            f" --leave-out {looks[0]!r}, or give --divide to divide all classes at random"
        )
    found_classes = classes_below(root, wishes.level, left_out)
    labels = named(list(found_classes.files), wishes.level)
    by_class: defaultdict[str, list[str]] = defaultdict(list)
    for path, files in found_classes.files.items():
        by_class[labels[path]].extend(files)
    told = _told(found_classes.rules, labels)
    if read is not None:
        if missing := read.missing():
            raise InputError(f"{found.path} has no list of the {missing[0]} split; add it, or give --divide")
        for label, files in by_class.items():
            if label not in read.classes:
                for name in files:
                    left_out.add(name, "its class is in none of the lists")
        return Understanding(layout_of(read, by_class), (*told, f"split by the lists {', '.join(read.files)}"), left_out)
    big = {label: files for label, files in by_class.items() if len(files) >= wishes.fewest}
    _without_small({"": dict(by_class)}, wishes, left_out)
    if not by_class:
        raise InputError(
            f"the images in {found.path} lie in no class folders; give one folder a class, or lists train.csv, val.csv"
            " and test.csv with columns filename and label"
        )
    return Understanding(_divided(big, wishes), (*told, f"divided at random, seed {wishes.seed}"), left_out)


def _without_splits(folder: Folder) -> Folder:
    """The same tree with folders that are splits dissolved, where they are more than a class of images."""
    merged = Folder(folder.name, folder.path, list(folder.files))
    splits = splits_among(folder.kids)
    for name, kid in folder.kids.items():
        inner = _without_splits(kid)
        if name in splits and (kid.kids or folder.path):
            _merge(merged, inner)
        else:
            _merge(merged, Folder("", "", [], {name: inner}))
    return merged


def _merge(into: Folder, other: Folder) -> None:
    into.files.extend(other.files)
    for name, kid in other.kids.items():
        if name in into.kids:
            _merge(into.kids[name], kid)
        else:
            into.kids[name] = kid


def _refuse_other_lists(result: Understanding, read: Lists | None) -> None:
    """Lists beside split folders must say the same."""
    if read is None:
        return
    split_of = {image: split for split, classes in result.layout.items() for own in classes.values() for image in own}
    for split, classes in read.images.items():
        for images in classes.values():
            for image in images:
                if split_of.get(image, split) != split:
                    raise _disagreement(image, split_of[image], split)
    of_class = {label: split for split, classes in result.layout.items() for label in classes}
    for label, split in read.classes.items():
        if of_class.get(label, split) != split:
            raise _disagreement(f"class {label}", of_class[label], split)
    for name in read.files:
        result.left_out.add(name, "a list that agrees with the folders")


def _disagreement(what: str, by_folder: str, by_list: str) -> InputError:
    return InputError(
        f"{what} is in {by_folder} by its folder and in {by_list} by a list; leave the lists out with --leave-out, or"
        " move the images"
    )


def _without_small(layout: Layout, wishes: Wishes, left_out: LeftOut) -> Layout:
    for classes in layout.values():
        for label, images in classes.items():
            if len(images) < wishes.fewest:
                for image in images:
                    left_out.add(image, f"class {label} has {len(images)} images, below --min-images {wishes.fewest}")
    return {
        split: {label: images for label, images in classes.items() if len(images) >= wishes.fewest}
        for split, classes in layout.items()
    }


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
                    f"class {label} is in {seen[label]} and in {split}; few-shot splits share no class: move one, or give"
                    " --divide to put the images of a class together and divide the classes at random"
                )
            for image in images if found.real else ():
                file = found.real.get(image, image if image not in found.names else found.names[image])
                if where.setdefault(file, image) != image:
                    raise InputError(f"{where[file]} and {image} are links to one file; remove one of the two")


def _divided(classes: Mapping[str, list[str]], wishes: Wishes) -> Layout:
    """Divide the classes at random, by the seed and nothing else."""
    held_out = {"val": round(wishes.val * len(classes)), "test": round(wishes.test * len(classes))}
    if min(held_out.values()) < 1 or sum(held_out.values()) >= len(classes):
        raise InputError(
            f"{len(classes)} classes are too few to divide ({', '.join(sorted(classes)[:3])}, …); give more, larger"
            " shares with --val and --test, or train/, val/ and test/ folders"
        )
    order = np.argsort(np.random.Philox(key=wishes.seed).random_raw(len(classes)), kind="stable")
    names = [sorted(classes)[place] for place in order]
    parts = {"val": names[: held_out["val"]], "test": names[held_out["val"] : sum(held_out.values())]}
    parts["train"] = names[sum(held_out.values()) :]
    return {split: {name: classes[name] for name in sorted(parts[split])} for split in SPLITS}
