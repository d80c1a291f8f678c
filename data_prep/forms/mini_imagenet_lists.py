"""Which images are miniImageNet: Ravi & Larochelle's lists, packed.

Their names `n0153282900000005.jpg` are no ILSVRC file numbers. They are the class and the rank (from 1) of the image
among the class's ILSVRC2012 training images, sorted by the number in their names.

`python -m data_prep.forms.mini_imagenet_lists train.csv val.csv test.csv` packs the lists again.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tyro

from fewshot.console import run_command
from fewshot.data.catalog import class_table
from fewshot.errors import InputError
from fewshot.files import replacing

_RANKS = 1304  # ILSVRC2012 has at most 1300 training images of a class; a whole number of bytes
_PACKED = Path(__file__).parent / "splits" / "mini_imagenet_ranks.npy"


def chosen_ranks(wnid: str) -> frozenset[int]:
    """The ranks, from 1, of a class's images that belong to miniImageNet."""
    return _all_ranks()[wnid]


def list_name(wnid: str, rank: int) -> str:
    """What Ravi & Larochelle call an image."""
    return f"{wnid}{rank:08d}.jpg"


@cache
def _all_ranks() -> dict[str, frozenset[int]]:
    bits = np.unpackbits(np.load(_PACKED, allow_pickle=False), axis=1)
    return {
        wnid: frozenset(map(int, np.flatnonzero(row) + 1))
        for wnid, row in zip(class_table("mini_imagenet"), bits, strict=True)
    }


def pack(lists: Sequence[Path]) -> np.ndarray:
    """Pack lists with the header `filename,label`: uint8 [100, 163], one row a class, one bit a rank.

    Raises:
        InputError: where a list has a name that is none of an image of miniImageNet.
    """
    rows = {wnid: row for row, wnid in enumerate(class_table("mini_imagenet"))}
    bits = np.zeros((len(rows), _RANKS), bool)
    for path in lists:
        for line in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            match = re.fullmatch(r"(n\d{8})(\d{8})\.jpg", line.get("filename") or "")
            if match is None or match[1] not in rows or not 1 <= int(match[2]) <= _RANKS:
                raise InputError(f"{path} lists {list(line.values())}; give Ravi & Larochelle's lists")
            bits[rows[match[1]], int(match[2]) - 1] = True
    return np.packbits(bits, axis=1)


@dataclass(frozen=True)
class ListOptions:
    """Pack Ravi & Larochelle's lists of miniImageNet."""

    lists: tyro.conf.Positional[tuple[Path, Path, Path]]
    """train.csv, val.csv and test.csv."""
    out: Path = Path("data_prep/forms/splits/mini_imagenet_ranks.npy")
    """The file to write."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = tyro.cli(ListOptions, args=arguments, description=ListOptions.__doc__)
    packed = pack(options.lists)
    with replacing(options.out) as temporary, open(temporary, "wb") as file:
        np.save(file, packed, allow_pickle=False)
    print(f"{options.out}: {np.unpackbits(packed).sum()} images of {len(packed)} classes")


if __name__ == "__main__":
    run_command(main)
