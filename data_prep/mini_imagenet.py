"""Prepare miniImageNet: `python -m data_prep.mini_imagenet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.fetching.download import Mirror
from data_prep.fetching.found import Found
from data_prep.forms.arrays import labelled_pickles, one_pickle, per_split, pixels_of, rows_in_order, whole_numbers
from data_prep.forms.imagenet_trees import class_folders, flat_folder, ilsvrc, is_other_class
from data_prep.forms.torchmeta import torchmeta_hdf5
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.plan import Plan
from data_prep.preparing.recipe import Download, Form, Recipe
from fewshot.console import run_command
from fewshot.errors import InputError

_CACHE = r"mini-imagenet-cache-(train|val|validation|test)\.pkl"
_ZENODO = "https://zenodo.org/record/7978538/files/"


def cache_pickles(found: Found) -> Plan | None:
    """Pickled dictionaries {image_data: uint8 [n, 84, 84, 3], class_dict: {WNID: rows}} (Ren et al., learn2learn)."""
    files = per_split(found, _CACHE)
    if not files:
        return None
    layout = {split: _class_rows(one_pickle(found, file), file) for split, file in files.items()}

    def load(file: str) -> np.ndarray:
        return pixels_of(one_pickle(found, file), "image_data", file)

    form = "mini-imagenet-cache pickles (Ren et al.)"
    return Plan(form, layout, frozenset(files.values()), lambda: rows_in_order(layout, files, load))


def _class_rows(content: Mapping[str, Any], file: str) -> dict[str, list[str]]:
    count = len(pixels_of(content, "image_data", file))
    classes = content.get("class_dict")
    if not isinstance(classes, dict):
        raise InputError(f"{file} has no dictionary 'class_dict'; get the original file")
    rows = {str(name): np.sort(whole_numbers(own, f"the rows of {name} in {file}")) for name, own in classes.items()}
    everything = np.concatenate([np.empty(0, np.int64), *rows.values()])
    if ((everything < 0) | (everything >= count)).any():
        raise InputError(f"{file} has rows beyond its {count} images in 'class_dict'; get the original file")
    used, times = np.unique(everything, return_counts=True)
    if (times > 1).any():
        raise InputError(f"{file} gives image {used[times > 1][0]} to two classes; get the original file")
    return {name: [f"{file}[{row}]" for row in rows[name]] for name in sorted(rows)}


RECIPE = Recipe(
    "mini_imagenet",
    (
        Form("mini-imagenet-cache-{train,val,test}.pkl, or their archive mini-imagenet.tar.gz", cache_pickles),
        Form(
            "miniImageNet_category_split_{train_phase_train,val,test}.pickle",
            lambda found: labelled_pickles(
                found,
                r"miniImageNet_category_split_(?:train_phase_(?=train))?(train|val|test)\.pickle",
                "miniImageNet_category_split pickles (Gidaris & Komodakis)",
            ),
        ),
        Form("torchmeta's {train,val,test}_data.hdf5", torchmeta_hdf5),
        Form("{train,val,test}/WNID/*.jpg, in a folder or an archive", class_folders),
        Form("images/n0153282900000005.jpg … (60 000 files, images.zip)", flat_folder),
        Form("ILSVRC2012_img_train.tar, its class tars n*.tar, or folders n*/", ilsvrc),
    ),
    image_size=84,
    downloads=(
        (
            Download(
                "mini-imagenet.tar.gz",
                (Mirror(drive_id="16V_ZlkW4SsnNDtnGmaBRq2OoPmUOc5mY"),),
                "md5:b38f1eb4251fb9459ecc8e7febf9b2eb",
            ),
        ),
        tuple(
            Download(f"mini-imagenet-cache-{split}.pkl", (Mirror(f"{_ZENODO}mini-imagenet-cache-{split}.pkl"),))
            for split in ("train", "validation", "test")
        ),
    ),
    terms="ImageNet's, non-commercial research and education (image-net.org/download)",
    published_as="photographs",
    skip=is_other_class,
)


@dataclass(frozen=True)
class MiniImagenetOptions(Options):
    """Prepare miniImageNet with the classes and images of Ravi & Larochelle 2017, from any form that circulates."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    prepare(RECIPE, parse(MiniImagenetOptions, arguments, "mini_imagenet"))


if __name__ == "__main__":
    run_command(main)
