"""A tree of folders with images, and what is beside the images in it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from data_prep.fetching.found import archive_stem
from data_prep.fetching.left_out import LeftOut
from data_prep.formats.names import words

_IMAGES = words(
    "images image img imgs jpegimages jpegs jpg png photos photo pictures pics rgb color colour raw data originals",
    "original inputs input",
)
_MASKS = words(
    "mask masks segmentation segmentations segmentationclass segmentationobject seg segs label labels labelmap",
    "labelmaps annotation annotations annots gt groundtruth truth trimap trimaps matte mattes alpha depth depths",
    "depthmaps edges contours boundaries heatmaps saliency keypoints landmarks normals silhouettes parsing",
)
_MASK_FILE = re.compile(r"(.+?)[-_ .](?:mask|seg|segmentation|label|gt|groundtruth|annotation|trimap)s?(?:[-_ ]?\d+)?")
MASK = "a mask or label beside the images"


@dataclass
class Folder:
    """A folder, its images by their names in the listing, and its subfolders that have images."""

    name: str
    path: str
    files: list[str] = field(default_factory=list)
    kids: dict[str, Folder] = field(default_factory=dict)

    def images(self) -> Iterator[str]:
        """Every image below."""
        yield from self.files
        for kid in self.kids.values():
            yield from kid.images()

    @property
    def stem(self) -> str:
        """Its name; that of an archive without its ending."""
        return archive_stem(self.name)

    def is_wrapper(self) -> bool:
        """Whether there is nothing in it but one folder of folders."""
        return not self.files and len(self.kids) == 1 and bool(next(iter(self.kids.values())).kids)

    def only_kid(self) -> Folder:
        """The one subfolder."""
        (kid,) = self.kids.values()
        return kid


def tree_of(names: Iterable[str]) -> Folder:
    """The folders of some files."""
    by_folder: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folder[name.rpartition("/")[0]].append(name)
    root = Folder("", "")
    for path, files in by_folder.items():
        folder = root
        for part in path.split("/") if path else ():
            folder = folder.kids.setdefault(part, Folder(part, f"{folder.path}/{part}".lstrip("/")))
        folder.files = files
    return root


def all_folders(folder: Folder) -> Iterator[Folder]:
    """A folder and all below it, outer ones first."""
    yield folder
    for kid in folder.kids.values():
        yield from all_folders(kid)


def means_images(name: str) -> bool:
    """Whether a folder of this name may hold the images of what is around it."""
    return archive_stem(name).casefold() in _IMAGES


def drop_masks(folder: Folder, left_out: LeftOut) -> None:
    """Leave out what lies beside the images: `masks/` beside `images/`, `1_mask.png` beside `1.png`."""
    masks = [name for name in folder.kids if re.sub(r"[-_ ]|\d+$", "", archive_stem(name).casefold()) in _MASKS]
    others = [kid for name, kid in folder.kids.items() if name not in masks]
    for name in masks:
        if any(means_images(kid.name) for kid in others) or _is_paired(folder.kids[name], others):
            for image in folder.kids.pop(name).images():
                left_out.add(image, MASK)
    for kid in folder.kids.values():
        drop_masks(kid, left_out)
    stems = {_stem(name) for name in folder.files}
    kept = []
    for name in folder.files:
        if (match := _MASK_FILE.fullmatch(_stem(name))) and match[1] in stems:
            left_out.add(name, MASK)
        else:
            kept.append(name)
    folder.files = kept


def _is_paired(masks: Folder, others: list[Folder]) -> bool:
    """Whether the one other folder has an image of the same name, in the same place, for each mask."""
    if len(others) != 1:
        return False
    images = {_within(name, others[0]) for name in others[0].images()}
    return {_within(name, masks) for name in masks.images()} <= images


def _within(name: str, folder: Folder) -> str:
    return name[len(folder.path) :].rpartition(".")[0]


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0].casefold()
