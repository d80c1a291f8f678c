"""Forms of miniImageNet with one file an image: class folders, Ravi & Larochelle's flat folder, and ILSVRC2012."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping

from data_prep.fetching.found import Found
from data_prep.forms.mini_imagenet_lists import chosen_ranks, list_name
from data_prep.forms.trees import IMAGE, Place, all_names, arrange, contents
from data_prep.preparing.plan import Plan
from data_prep.preparing.recipe import IncompleteError
from fewshot.data.catalog import class_lists
from fewshot.data.store import SPLITS
from fewshot.errors import InputError

_MOST_IMAGES = 1300
_CLASS_FOLDER = re.compile(rf"(?:^|/)(train|val|validation|test)/(n\d{{8}})/({IMAGE})$", re.IGNORECASE)
_RAVI = re.compile(r"(?:^|/)(n\d{8})(\d{8})\.(?:jpg|png)$")
_ILSVRC = re.compile(r"(?:^|/)(n\d{8})_(\d+)\.jpe?g$", re.IGNORECASE)
_LIST = re.compile(r"(?:^|/)(train|val|test)\.csv$")


def split_of_class() -> Mapping[str, str]:
    """The split of each of miniImageNet's classes."""
    return {wnid: split for split, classes in class_lists("mini_imagenet").items() for wnid in classes}


def is_other_class(name: str) -> bool:
    """Whether an archive of ILSVRC2012 holds one class, and miniImageNet has no such class."""
    match = re.search(r"(?:^|/)(n\d{8})\.tar$", name)
    return match is not None and match[1] not in split_of_class()


def class_folders(found: Found) -> Plan | None:
    """`{train,val,test}/WNID/*`, 600 images a class, whatever their names."""

    def place(name: str) -> Place | None:
        match = _CLASS_FOLDER.search(name)
        return (match[1].lower().replace("validation", "val"), match[2], match[3]) if match else None

    layout = arrange(found.names, place)
    names = all_names(layout)
    if set(layout) != set(SPLITS):
        return None
    return Plan("class folders", layout, names, contents(found, names), assembled=True)


def flat_folder(found: Found) -> Plan | None:
    """Ravi & Larochelle's own file names in any folder."""
    splits = split_of_class()

    def place(name: str) -> Place | None:
        match = _RAVI.search(name)
        if match is None or match[1] not in splits or int(match[2]) not in chosen_ranks(match[1]):
            return None
        return splits[match[1]], match[1], match[2]

    layout = arrange(found.names, place)
    names = all_names(layout)
    if not names:
        return None
    _refuse_other_lists(found)
    for classes in layout.values():
        for wnid, images in classes.items():
            present = {int(match[2]) for name in images if (match := _RAVI.search(name))}
            if absent := sorted(chosen_ranks(wnid) - present):
                raise IncompleteError(f"{found.path} lacks {list_name(wnid, absent[0])}; get the whole archive again")
    return Plan("Ravi & Larochelle's image files", layout, names, contents(found, names), assembled=True)


def _refuse_other_lists(found: Found) -> None:
    """The lists that lie beside the images must be the ones that are used."""
    lists = frozenset(name for name in found.names if _LIST.search(name))
    for name, source in found.sources(lists):
        for line in csv.DictReader(source.read().decode("utf-8", "replace").splitlines()):
            match = _RAVI.search(line.get("filename") or "")
            if match and int(match[2]) not in chosen_ranks(match[1]):
                raise InputError(
                    f"{name} in {found.path} lists {line['filename']}, which Ravi & Larochelle do not; remove it"
                )


def ilsvrc(found: Found) -> Plan | None:
    """ILSVRC2012's training images in class folders, class tars or the one big tar, chosen by rank."""
    splits = split_of_class()
    numbers: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for name in found.names:
        if (match := _ILSVRC.search(name)) and match[1] in splits:
            numbers[match[1]].setdefault(int(match[2]), name)
    if not numbers:
        return None
    chosen = {wnid: _by_rank(wnid, [own[number] for number in sorted(own)]) for wnid, own in sorted(numbers.items())}
    there = [split for split in SPLITS if any(splits[wnid] == split for wnid in chosen)]
    layout = {split: {wnid: chosen[wnid] for wnid in chosen if splits[wnid] == split} for split in there}
    names = all_names(layout)
    form = "ILSVRC2012's training images by Ravi & Larochelle's ranks"
    return Plan(form, layout, names, contents(found, names))


def _by_rank(wnid: str, images: list[str]) -> list[str]:
    ranks = sorted(chosen_ranks(wnid))
    if not ranks[-1] <= len(images) <= _MOST_IMAGES:
        raise InputError(
            f"class {wnid} has {len(images)} files where ILSVRC2012 has {ranks[-1]} to {_MOST_IMAGES}, and a rank means"
            " an image only among all of them; get the whole class"
        )
    return [images[rank - 1] for rank in ranks]
