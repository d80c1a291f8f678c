"""The forms of CIFAR-10 and CIFAR-100: Krizhevsky's pickled batches, and folders of images."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.fetching.download import Mirror
from data_prep.fetching.found import Found
from data_prep.formats.names import numeric
from data_prep.formats.pickles import load_pickle
from data_prep.forms.arrays import strings, whole_numbers
from data_prep.forms.trees import IMAGE, Place, all_names, arrange, contents
from data_prep.preparing.plan import Plan
from data_prep.preparing.recipe import Download, Form, IncompleteError
from fewshot.data.store import SPLITS
from fewshot.errors import InputError

TERMS = "free to use; cite A. Krizhevsky, Learning multiple layers of features from tiny images, 2009"
SplitOf = Callable[[str, str], str | None]
"""From the published split and the class to the split that an image goes to; None leaves it out."""


@dataclass(frozen=True)
class Batches:
    """How one of the two archives is laid out; hashes as in torchvision.

    Attributes:
        folder: of the batches, in the archive.
        batches: published split of each batch.
        meta: the file with the names of classes, and the key they have there.
        labels: key of the labels in a batch.
    """

    archive: str
    known_hash: str
    folder: str
    batches: Mapping[str, str]
    meta: tuple[str, str]
    labels: str

    @property
    def download(self) -> Download:
        """Where the archive is offered."""
        return Download(self.archive, (Mirror(f"https://www.cs.toronto.edu/~kriz/{self.archive}"),), self.known_hash)

    def form(self, split_of: SplitOf = lambda published, _: published) -> Form:
        """The archive, or its unpacked folder."""
        return Form(f"{self.archive}, or the folder {self.folder} of it", lambda found: self._plan(found, split_of))

    def _plan(self, found: Found, split_of: SplitOf) -> Plan | None:
        files = self._files(found)
        if not files:
            return None
        layout: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        places: dict[str, tuple[str, int]] = {}
        for image, (batch, row, label) in self._index(found, files).items():
            if (split := split_of(self.batches[batch], label)) is not None:
                layout[split][label].append(image)
                places[image] = batch, row
        ordered = {split: dict(sorted(layout[split].items())) for split in SPLITS if split in layout}
        _order_by_file(ordered)
        form = f"the pickled batches of {self.folder}"
        return Plan(form, ordered, frozenset(files), lambda: self._read(found, files, ordered, places))

    def _files(self, found: Found) -> dict[str, str]:
        """The batch, or the file of names, that each file of the listing is."""
        wanted = {*self.batches, self.meta[0]}
        files = {}
        for name in found.names:
            folder, _, file = name.rpartition("/")
            if file in wanted and (folder.endswith(self.folder) or not folder) and file not in files.values():
                files[name] = file
        missing = sorted(wanted - set(files.values()))
        if missing and any(file in self.batches for file in files.values()):
            raise IncompleteError(f"{found.path} has no {missing[0]}; get the whole {self.archive}")
        return {} if missing else files

    def _load(self, found: Found, files: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        loaded = {}
        for name, source in found.sources(files):
            content = load_pickle(source)
            if not isinstance(content, dict):
                raise InputError(f"{source.label} holds no dictionary; get {self.archive} again")
            loaded[files[name]] = content
        return loaded

    def _index(self, found: Found, files: Mapping[str, str]) -> dict[str, tuple[str, int, str]]:
        """Batch, row and class of each image, named `BATCH/FILE` as its authors named it."""
        loaded = self._load(found, files)
        names = strings(loaded[self.meta[0]].get(self.meta[1]), f"the classes in {self.meta[0]}")
        index = {}
        for batch in self.batches:
            labels = whole_numbers(loaded[batch].get(self.labels), f"the labels in {batch}")
            originals = strings(loaded[batch].get("filenames"), f"the file names in {batch}")
            sizes = {len(labels), len(_pixels(loaded[batch], batch)), len(originals)}
            if len(sizes) > 1 or not ((labels >= 0) & (labels < len(names))).all():
                raise InputError(
                    f"the labels in {batch} do not fit its images or class names; get {self.archive} again"
                )
            for row, (label, original) in enumerate(zip(labels, originals, strict=True)):
                name = f"{batch}/{original}"
                index[f"{name} [{row}]" if name in index else name] = batch, row, names[label]
        return index

    def _read(self, found: Found, files: Mapping[str, str], layout: Any, places: Mapping) -> Generator:
        loaded = self._load(found, files)
        pixels = {batch: _pixels(loaded[batch], batch) for batch in self.batches}
        for classes in layout.values():
            for images in classes.values():
                for image in images:
                    batch, row = places[image]
                    yield image, pixels[batch][row]


CIFAR10 = Batches(
    "cifar-10-python.tar.gz",
    "md5:c58f30108f718f92721af3b95e74349a",
    "cifar-10-batches-py",
    {**{f"data_batch_{number}": "train" for number in range(1, 6)}, "test_batch": "test"},
    ("batches.meta", "label_names"),
    "labels",
)
CIFAR100 = Batches(
    "cifar-100-python.tar.gz",
    "md5:eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100-python",
    {"train": "train", "test": "test"},
    ("meta", "fine_label_names"),
    "fine_labels",
)


def class_folders(found: Found) -> Plan | None:
    """Images as `train/CLASS/FILE` and `test/CLASS/FILE`."""

    def place(name: str) -> Place | None:
        match = re.search(rf"(?:^|/)(train|test)/([^/]+)/({IMAGE})$", name)
        return (match[1], match[2], match[3]) if match else None

    layout = arrange(found.names, place)
    names = all_names(layout)
    lossy = any(name.lower().endswith((".jpg", ".jpeg")) for name in names)
    remark = "these are JPEG images, not the published pixels: say so beside any number from them" if lossy else ""
    plan = Plan("folders of images", layout, names, contents(found, names), remark=remark, assembled=True)
    return plan if names else None


def _order_by_file(layout: Mapping[str, Mapping[str, list[str]]]) -> None:
    """Order images by their own names, whatever batch they come from, as in the forms with one file an image."""
    for classes in layout.values():
        for images in classes.values():
            images.sort(key=lambda image: numeric(image.partition("/")[2]))


def _pixels(content: Mapping[str, Any], batch: str) -> np.ndarray:
    """uint8 [n, 32, 32, 3]; the file has all of red, then of green, then of blue."""
    data = content.get("data")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * 32 * 32:
        raise InputError(f"{batch} has no uint8 [n, 3072] under 'data'; get the original archive")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
