"""Prepare CIFAR-FS, or FC100: `python -m data_prep.cifar_fs`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from data_prep.fetching.download import Mirror
from data_prep.fetching.found import Found
from data_prep.forms.arrays import labelled_pickles
from data_prep.forms.cifar import CIFAR100, TERMS
from data_prep.forms.trees import IMAGE, Place, all_names, arrange, contents
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.plan import Plan
from data_prep.preparing.recipe import Download, Form, Recipe
from fewshot.console import run_command
from fewshot.data.catalog import class_lists

_BERTINETTO = Download(
    "cifar100.zip",
    (
        Mirror("https://zenodo.org/record/7978538/files/cifar100.zip"),
        Mirror(drive_id="1pTsCCMDj45kzFYgrnO67BWVbKs48Q3NI"),
    ),
    "md5:fdb4405027b809aa4c059047f21ca3d1",
)


@dataclass(frozen=True)
class CifarOptions(Options):
    """Prepare CIFAR-FS (Bertinetto et al. 2019) or FC100 (Oreshkin et al. 2018) from CIFAR-100, 600 images a class."""

    split: Literal["cifar_fs", "fc100"] = "cifar_fs"
    """cifar_fs: 64/16/20 classes at random; fc100: 60/20/20 classes by superclass, which is harder."""


def recipe(options: CifarOptions) -> Recipe:
    """How CIFAR-FS or FC100 is prepared."""
    split_of = {name: split for split, classes in class_lists(options.split).items() for name in classes}
    pickles = "CIFAR_FS" if options.split == "cifar_fs" else "FC100"
    return Recipe(
        options.split,
        (
            CIFAR100.form(lambda _, name: split_of.get(name)),  # its own train and test images together
            Form("cifar100.zip with data/CLASS/*.png", partial(_tree, split_of=split_of)),
            Form(
                f"{pickles}_{{train,val,test}}.pickle",
                partial(
                    labelled_pickles,
                    pattern=rf"{pickles}_(train|val|test)\.pickle",
                    form=f"MetaOptNet's {pickles} pickles",
                ),
            ),
        ),
        image_size=32,
        downloads=((CIFAR100.download,), (_BERTINETTO,)),
        terms=TERMS,
    )


def _tree(found: Found, split_of: dict[str, str]) -> Plan | None:
    def place(name: str) -> Place | None:
        match = re.search(rf"(?:^|/)data/([^/]+)/({IMAGE})$", name)
        return (split_of[match[1]], match[1], match[2]) if match and match[1] in split_of else None

    layout = arrange(found.names, place)
    names = all_names(layout)
    return Plan("cifar100.zip", layout, names, contents(found, names), assembled=True) if names else None


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = parse(CifarOptions, arguments, "cifar_fs")
    prepare(recipe(options), options)


if __name__ == "__main__":
    run_command(main)
