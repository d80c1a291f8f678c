"""Forms of miniImageNet with one file an image: class folders, Ravi & Larochelle's flat folder, and ILSVRC2012."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from data_prep.fetching.found import Found, archive_stem
from data_prep.forms.mini_imagenet_lists import chosen_ranks, list_name
from data_prep.forms.split_lists import lists_in
from data_prep.forms.splits import split_of
from data_prep.forms.tables import read_table
from data_prep.forms.trees import IMAGE, Place, all_names, arrange, contents
from data_prep.preparing.plan import Plan
from data_prep.preparing.recipe import IncompleteError
from fewshot.data.catalog import class_lists
from fewshot.data.store import SPLITS
from fewshot.errors import InputError

_MOST_IMAGES = 1300
_RAVI = re.compile(r"(?:^|/)(n\d{8})(\d{8})\.(?i:jpe?g|png)$")
_WNID = re.compile(r"n\d{8}")
_ILSVRC = re.compile(r"(?:^|/)(n\d{8})_(\d+)\.jpe?g$", re.IGNORECASE)


def split_of_class() -> Mapping[str, str]:
    """The split of each of miniImageNet's classes."""
    return {wnid: split for split, classes in class_lists("mini_imagenet").items() for wnid in classes}


def is_other_class(name: str) -> bool:
    """Whether an archive of ILSVRC2012 holds one class, and miniImageNet has no such class."""
    match = re.search(r"(?:^|/)(n\d{8})\.tar$", name)
    return match is not None and match[1] not in split_of_class()


def class_folders(found: Found) -> Plan | None:
    """`{train,val,test}/WNID/*`, whatever the names of the images; a split may have any of its usual names."""
    layout = arrange(found.names, place_in_splits)
    names = all_names(layout)
    if set(layout) != set(SPLITS):
        return None
    return Plan("class folders", layout, names, contents(found, names), assembled=True)


def place_in_splits(name: str) -> Place | None:
    """Where `SPLIT/WNID/FILE`, or `SPLIT.tar/WNID/…/FILE`, belongs."""
    *folders, file = name.split("/")
    wnid = next((place for place, part in enumerate(folders) if _WNID.fullmatch(archive_stem(part))), 0)
    split = next((split for part in reversed(folders[:wnid]) if (split := split_of(part))), None)
    is_image = re.fullmatch(IMAGE, file)
    return (split, archive_stem(folders[wnid]), "/".join([*folders[wnid + 1 :], file])) if split and is_image else None


def flat_folder(found: Found) -> Plan | None:
    """Ravi & Larochelle's own file names in any folder.

    Raises:
        IncompleteError: where a class lacks an image that the lists have.
        InputError: where lists beside the images say something else.
    """
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
    """The lists that lie beside the images must be the ones that are used: the same images in the same splits."""
    splits = split_of_class()
    lists = lists_in(found)
    for name, source in found.sources(frozenset(lists)):
        matches = [match for row in read_table(source) for cell in row if (match := _RAVI.search(cell))]
        if not matches:
            raise InputError(f"{name} in {found.path} lists no image of miniImageNet; remove it")
        for match in matches:
            wnid, rank = match[1], int(match[2])
            if wnid not in splits or rank not in chosen_ranks(wnid):
                raise InputError(f"{name} in {found.path} lists {match[0]}, which Ravi & Larochelle do not; remove it")
            if splits[wnid] != lists[name]:
                raise InputError(
                    f"{name} in {found.path} puts class {wnid} into {lists[name]}, where Ravi & Larochelle have it in"
                    f" {splits[wnid]}: another split; remove the list, or prepare it under another name with `python -m"
                    " data_prep.image_folder`"
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
