"""Prepare tieredImageNet: `python -m data_prep.tiered_imagenet`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.fetching.download import Mirror
from data_prep.fetching.found import Found
from data_prep.formats.npz import iterate_npz
from data_prep.formats.pickles import iterate_pickled_pngs
from data_prep.formats.sources import Source
from data_prep.forms.arrays import by_label, keys_of, one_pickle, per_split, strings, whole_numbers
from data_prep.forms.imagenet_trees import class_folders
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.plan import Content, Plan
from data_prep.preparing.recipe import Download, Form, IncompleteError, Recipe
from fewshot.console import run_command
from fewshot.data.store import SPLITS
from fewshot.errors import InputError

_PREFIX = "(?:tiered-imagenet-)?"
_ZENODO = "https://zenodo.org/record/7978538/files/"


def png_pickles(found: Found) -> Plan | None:
    """A pickled list of PNG files, and pickled labels, for each split (Ren et al., learn2learn)."""
    images = per_split(found, rf"{_PREFIX}(train|val|test)_images_png\.pkl")
    return _plan(found, images, iterate_pickled_pngs, "pickled PNG files (Ren et al.)")


def npz_archives(found: Found) -> Plan | None:
    """Compressed pixels [n, 84, 84, 3], blue first, and pickled labels for each split (MetaOptNet)."""
    images = per_split(found, rf"{_PREFIX}(train|val|test)_images\.npz")
    remark = "these files hold blue before green before red; it has been turned round"
    return _plan(found, images, _rgb, "npz files (MetaOptNet)", remark)


def _rgb(source: Source) -> Iterator[np.ndarray]:
    for block in iterate_npz(source, "images"):
        if block.ndim != 4 or block.shape[3] != 3:
            raise InputError(f"{source.label} has images of shape {block.shape[1:]}, not [H, W, 3]; get the original")
        yield from block[..., ::-1]


def _plan(
    found: Found, images: Mapping[str, str], stream: Callable[[Source], Iterator[Content]], form: str, remark: str = ""
) -> Plan | None:
    """The plan of either form; the images are streamed and never all in memory."""
    if not images:
        return None
    labels = per_split(found, rf"{_PREFIX}(train|val|test)_labels\.pkl")
    if not labels:
        raise IncompleteError(f"{found.path} has {images['train']} but no {{train,val,test}}_labels.pkl; get them too")
    counted = {images[split]: _labels(one_pickle(found, labels[split]), labels[split]) for split in SPLITS}

    def read() -> Generator[tuple[str, Content]]:
        for name, source in found.sources(counted):
            expected, row = len(counted[name][0]), -1
            for row, image in enumerate(stream(source)):
                if row < expected:
                    yield f"{name}[{row}]", image
            if row + 1 != expected:
                raise InputError(f"{name} has {row + 1} images for {expected} labels; get both files again")

    layout = {split: by_label(images[split], *counted[images[split]]) for split in SPLITS}
    return Plan(form, layout, frozenset([*images.values(), *labels.values()]), read, remark=remark)


def _labels(content: Mapping[str, Any], file: str) -> tuple[np.ndarray, dict[int, str]]:
    """The labels in a file, whichever of the two variants it is, and the names of the classes where it has them."""
    labels = content.get("label_specific", content.get("labels"))
    if labels is None:
        raise InputError(f"{file} has neither 'label_specific' nor 'labels' but {keys_of(content)}; get the original")
    names = content.get("label_specific_str", [])
    if isinstance(names, dict):
        names = [names.get(label, "class") for label in range(len(names))]
    return whole_numbers(labels, f"the labels in {file}"), dict(enumerate(strings(names, f"the classes in {file}")))


_FILES = [f"{split}_{kind}.pkl" for split in SPLITS for kind in ("images_png", "labels")]
RECIPE = Recipe(
    "tiered_imagenet",
    (
        Form("{train,val,test}_images_png.pkl and _labels.pkl, or their archive tiered-imagenet.tar", png_pickles),
        Form("{train,val,test}_images.npz and _labels.pkl", npz_archives),
        Form("{train,val,test}/WNID/*.jpg, in a folder or archives", class_folders),
    ),
    image_size=84,
    downloads=(
        tuple(Download(f"tiered-imagenet-{name}", (Mirror(f"{_ZENODO}tiered-imagenet-{name}"),)) for name in _FILES),
        (
            Download(
                "tiered-imagenet.tar",
                (Mirror(drive_id="1g1aIDy2Ar_MViF2gDXFYDBTR-HYecV07"),),
                "md5:e07e811b9f29362d159a9edd0d838c62",
            ),
        ),
    ),
    terms="ImageNet's, non-commercial research and education (image-net.org/download)",
    published_as="photographs",
)


@dataclass(frozen=True)
class TieredImagenetOptions(Options):
    """Prepare tieredImageNet (Ren et al. 2018). Memory stays small whatever the size of the files."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    prepare(RECIPE, parse(TieredImagenetOptions, arguments, "tiered_imagenet"))


if __name__ == "__main__":
    run_command(main)
