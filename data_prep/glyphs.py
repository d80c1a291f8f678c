"""Make the embedded dataset *glyphs*: `python -m data_prep.glyphs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from data_prep.preparing.contact_sheet import contact_sheet
from fewshot.console import run_command
from fewshot.data import glyphs
from fewshot.data.store import Dataset
from fewshot.errors import InputError


@dataclass(frozen=True)
class Options:
    """Make the embedded dataset glyphs: 100 characters of twelve scripts, drawn on this machine without a download."""

    out: Path = Path("data/glyphs.h5")
    """The file to write."""
    preview: Path | None = None
    """Also write a contact sheet of the dataset to this PNG file."""
    force: bool = False
    """Make the file anew, whatever is there."""
    quiet: bool = False
    """No progress bar."""


def make(options: Options) -> tuple[Dataset, bool]:
    """The dataset at `options.out`, and whether it was made just now.

    Raises:
        InputError: where something else lies there and `force` is not set, or the file cannot be written.
    """
    if options.out.is_dir():
        raise InputError(f"{options.out} is a folder; name a file in it, such as --out {options.out / 'glyphs.h5'}")
    if options.out.exists() and not options.force:
        return _kept(options.out), False
    glyphs.prepare(options.out, options.quiet, glyphs.RECIPE)
    return Dataset.open(options.out), True


def _kept(path: Path) -> Dataset:
    try:
        dataset = Dataset.open(path)
        dataset.verify()
    except InputError as error:
        raise InputError(f"{error} (--force replaces it)") from error
    if not glyphs.is_current(dataset):
        raise InputError(f"{path} holds other images ({dataset.name}, of another version); --force replaces it")
    return dataset


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = tyro.cli(Options, args=arguments, description=Options.__doc__)
    dataset, is_new = make(options)
    if options.preview is not None:
        contact_sheet(dataset, options.preview)
    counts = ", ".join(
        f"{len(split.images)} {name} images of {len(split.class_names)} classes"
        for name, split in dataset.splits.items()
    )
    print(f"{options.out} {'written' if is_new else 'kept'}: {counts}; fingerprint {dataset.fingerprint}")


if __name__ == "__main__":
    run_command(main)
