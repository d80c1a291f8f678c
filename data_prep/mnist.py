"""Prepare MNIST: `python -m data_prep.mnist`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.forms.idx_pairs import idx_downloads, idx_form
from data_prep.preparing.options import Options, parse
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.recipe import Recipe
from fewshot.console import run_command

RECIPE = Recipe(
    "mnist",
    (idx_form("0123456789"),),
    image_size=28,
    downloads=(
        idx_downloads(
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    ),
    terms="free to use; cite Y. LeCun et al., Gradient-based learning applied to document recognition, 1998",
)


@dataclass(frozen=True)
class MnistOptions(Options):
    """Prepare MNIST (LeCun et al. 1998) for the general-training track."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    prepare(RECIPE, parse(MnistOptions, arguments, "mnist"))


if __name__ == "__main__":
    run_command(main)
