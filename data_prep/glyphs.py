"""Make the embedded dataset *glyphs*: `python -m data_prep.glyphs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from data_prep.preparing.contact_sheet import contact_sheet
from data_prep.preparing.options import default_folder
from fewshot.console import run_command, starts_over
from fewshot.data import glyphs
from fewshot.data.store import Dataset
from fewshot.errors import InputError


@dataclass(frozen=True)
class Options:
    """Make the embedded dataset glyphs: 100 characters of twelve scripts, drawn on this machine without a download."""

    data: Path = field(default_factory=default_folder)
    """Folder for the file, DATA/glyphs.h5 ($FEWSHOT_DATA overrides the default)."""
    out: Path | None = None
    """The file to write, if it is to be another one."""
    preview: Path | None = None
    """Also write a contact sheet of the dataset to this PNG file."""
    force: bool = False
    """Make the file anew, whatever is there."""
    quiet: bool = False
    """No progress bar."""

    @property
    def path(self) -> Path:
        """The file to write."""
        return self.out or self.data / f"{glyphs.NAME}.h5"


def make(options: Options) -> tuple[Dataset, bool]:
    """The dataset at `options.path`, and whether it was made just now.

    Raises:
        InputError: where something else lies there and `force` is not set, or the file cannot be written.
    """
    path = options.path
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it, such as --out {path / 'glyphs.h5'}")
    if path.exists() and not options.force:
        return _kept(path), False
    with starts_over():
        glyphs.prepare(path, options.quiet, glyphs.RECIPE)
    return Dataset.open(path), True


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
    print(f"{options.path} {'written' if is_new else 'kept'}: {counts}; fingerprint {dataset.fingerprint}")


if __name__ == "__main__":
    run_command(main)
