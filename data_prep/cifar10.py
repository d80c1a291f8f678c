"""Prepare CIFAR-10: `python -m data_prep.cifar10`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.forms.cifar import CIFAR10, TERMS, class_folders
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.recipe import Form, Recipe
from fewshot.console import run_command

RECIPE = Recipe(
    "cifar10",
    (CIFAR10.form(), Form("images as train/CLASS/* and test/CLASS/*, in a folder or an archive", class_folders)),
    image_size=32,
    downloads=((CIFAR10.download,),),
    terms=TERMS,
)


@dataclass(frozen=True)
class Cifar10Options(Options):
    """Prepare CIFAR-10 (Krizhevsky 2009) for the general-training track."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    prepare(RECIPE, parse(Cifar10Options, arguments, "cifar10"))


if __name__ == "__main__":
    run_command(main)
