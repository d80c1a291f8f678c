"""Prepare Fashion-MNIST: `python -m data_prep.fashion_mnist`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.forms.idx_pairs import idx_downloads, idx_form
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.recipe import Recipe
from fewshot.console import run_command

_CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
RECIPE = Recipe(
    "fashion_mnist",
    (idx_form(_CLASSES),),
    image_size=28,
    downloads=(
        idx_downloads(
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
    terms="MIT licence; cite H. Xiao et al., Fashion-MNIST, 2017",
)


@dataclass(frozen=True)
class FashionOptions(Options):
    """Prepare Fashion-MNIST (Xiao et al. 2017) for the general-training track."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    prepare(RECIPE, parse(FashionOptions, arguments, "fashion_mnist"))


if __name__ == "__main__":
    run_command(main)
