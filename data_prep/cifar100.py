"""Prepare CIFAR-100: `python -m data_prep.cifar100`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.forms.cifar import CIFAR100, TERMS, class_folders
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.recipe import Form, Recipe
from fewshot.console import run_command

RECIPE = Recipe(
    "cifar100",
    (CIFAR100.form(), Form("images as train/CLASS/* and test/CLASS/*, in a folder or an archive", class_folders)),
    image_size=32,
    downloads=((CIFAR100.download,),),
    terms=TERMS,
)


@dataclass(frozen=True)
class Cifar100Options(Options):
    """Prepare CIFAR-100 (Krizhevsky 2009) for the general-training track."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    prepare(RECIPE, parse(Cifar100Options, arguments, "cifar100"))


if __name__ == "__main__":
    run_command(main)
