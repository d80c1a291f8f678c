"""Prepare Tiny ImageNet: `python -m data_prep.tiny_imagenet`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_prep.fetching.download import Mirror
from data_prep.fetching.found import Found
from data_prep.forms.trees import IMAGE, Place, all_names, arrange, contents
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.plan import Plan
from data_prep.preparing.recipe import Download, Form, IncompleteError, Recipe
from fewshot.console import run_command

_TRAIN = re.compile(rf"(?:^|/)train/(n\d{{8}})/(?:images/)?({IMAGE})$")
_SORTED_VAL = re.compile(rf"(?:^|/)val/(n\d{{8}})/(?:images/)?({IMAGE})$")
_FLAT_VAL = re.compile(rf"(?:^|/)val/images/({IMAGE})$")
_ANNOTATIONS = re.compile(r"(?:^|/)val/val_annotations\.txt$")


def tiny_folders(found: Found) -> Plan | None:
    """`train/WNID/images/*`, and `val/images/*` with `val_annotations.txt` or sorted into `val/WNID`.

    Raises:
        IncompleteError: where the validation images, or their classes, are missing.
    """
    if not any(_TRAIN.search(name) for name in found.names):
        return None
    classes = _annotations(found)

    def place(name: str) -> Place | None:
        if match := _TRAIN.search(name):
            return "train", match[1], match[2]
        if match := _SORTED_VAL.search(name):
            return "test", match[1], match[2]
        match = _FLAT_VAL.search(name)
        return ("test", classes[match[1]], match[1]) if match and match[1] in classes else None

    layout = arrange(found.names, place)
    if "test" not in layout:
        raise IncompleteError(f"{found.path} has no images in val/ with their classes; get the whole archive")
    names = all_names(layout)
    remark = "its own test images have no labels; its validation images are the test split here"
    return Plan("tiny-imagenet-200", layout, names, contents(found, names), remark=remark, assembled=True)


def _annotations(found: Found) -> Mapping[str, str]:
    """The class of each validation image by file name."""
    wanted = frozenset(name for name in found.names if _ANNOTATIONS.search(name))
    lines = [
        line.split("\t")
        for _, source in found.sources(wanted)
        for line in source.read().decode("utf-8", "replace").splitlines()
    ]
    return {line[0]: line[1] for line in lines if len(line) > 1}


RECIPE = Recipe(
    "tiny_imagenet",
    (Form("tiny-imagenet-200.zip, or its folder", tiny_folders),),
    image_size=64,
    downloads=(
        (
            Download(
                "tiny-imagenet-200.zip",
                (Mirror("http://cs231n.stanford.edu/tiny-imagenet-200.zip"),),
                "md5:90528d7ca1a48142e341f4ef8d21d0de",
            ),
        ),
    ),
    terms="ImageNet's, non-commercial research and education (image-net.org/download)",
    published_as="jpeg",
)


@dataclass(frozen=True)
class TinyImagenetOptions(Options):
    """Prepare Tiny ImageNet (Stanford CS231n) for the general-training track."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    prepare(RECIPE, parse(TinyImagenetOptions, arguments, "tiny_imagenet"))


if __name__ == "__main__":
    run_command(main)
