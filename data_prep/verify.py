"""Check a prepared dataset: `python -m data_prep.verify NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from data_prep.preparing.contact_sheet import contact_sheet
from data_prep.preparing.options import Folder, default_folder
from fewshot.console import run_command
from fewshot.data.catalog import CATALOG, Counts, Entry, open_dataset, pixels_of
from fewshot.data.store import Dataset, TokenSplit
from fewshot.errors import InputError


@dataclass(frozen=True)
class VerifyOptions:
    """Check a prepared dataset: its layout, its numbers against the published ones, and its fingerprint.

    Of images, writes a contact sheet, a picture with examples of the classes beside their names.
    """

    name: tyro.conf.Positional[str]
    """Name of the dataset."""
    out: Folder = field(default_factory=default_folder)
    """Folder of the prepared file, DATA/NAME.h5 ($FEWSHOT_DATA overrides the default; --out is an older name)."""
    sheet: Path | None = None
    """The PNG to write; by default DATA/NAME.png."""
    quiet: bool = False
    """No progress bars."""


def verify(dataset: Dataset) -> str:
    """Compare a dataset with its fingerprint and, where it is in the catalog, with the published numbers.

    Returns:
        Which edition it is; "not in the catalog" for somebody's own images.

    Raises:
        InputError: naming the first difference.
    """
    dataset.verify()
    entry = CATALOG.get(dataset.name)
    if entry is None:
        return "not in the catalog"
    counts = {name: Counts(len(split.class_names), split.shape[0]) for name, split in dataset.splits.items()}
    edition = next((edition for edition in entry.editions if _agrees(counts, entry, edition)), None)
    if edition is None:
        published = next(iter(entry.editions.values()))
        raise InputError(
            f"{dataset.path} has {_text(counts)}, published are {_text(published)}; prepare it again with"
            f" `{entry.command} --force`"
        )
    _check_balance(dataset, entry)
    if "re-encoded" in pixels_of(dataset):
        return f"as published in numbers ({edition}), but not in its pixels: they were re-encoded with losses"
    return f"as published ({edition})"


def _agrees(counts: dict[str, Counts], entry: Entry, edition: str) -> bool:
    published = entry.editions[edition]
    return set(counts) == set(published) and all(
        expected.classes == counts[split].classes and expected.images in (None, counts[split].images)
        for split, expected in published.items()
    )


def _check_balance(dataset: Dataset, entry: Entry) -> None:
    for name, split in dataset.splits.items():
        sizes = split.class_sizes
        if entry.balanced and sizes.min() != sizes.max():
            small = split.class_names[int(sizes.argmin())]
            raise InputError(
                f"class {small} of {name} in {dataset.path} has {sizes.min()} images, others {sizes.max()}; prepare it"
                f" again with `{entry.command} --force`"
            )


def _text(counts: Mapping[str, Counts]) -> str:
    return ", ".join(f"{split} {count.classes} classes / {count.images} images" for split, count in counts.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = tyro.cli(
        VerifyOptions,
        args=arguments,
        prog="python -m data_prep.verify",
        description=VerifyOptions.__doc__,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    dataset = open_dataset(options.name, options.out, options.quiet, kind=None)
    edition = verify(dataset)
    for name, split in dataset.splits.items():
        sizes, count = split.class_sizes, split.shape[0]
        what = "texts" if isinstance(split, TokenSplit) else "images"
        print(
            f"{name:5}  {len(sizes)} classes  {count} {what} of {'×'.join(map(str, split.shape[1:]))}"
            f"  {sizes.min()} to {sizes.max()} a class"
        )
    print(
        f"{dataset.path} is sound, {edition}; pixels {pixels_of(dataset)}; fingerprint {dataset.fingerprint};"
        f" {_shown(dataset, options)}"
    )


def _shown(dataset: Dataset, options: VerifyOptions) -> str:
    """Draw the contact sheet, or name what texts are made of."""
    if words := dataset.vocabulary():
        return f"{len(words)} words: {', '.join(words[2:12])} …"
    sheet = options.sheet or options.out / f"{options.name}.png"
    contact_sheet(dataset, sheet)
    return f"contact sheet {sheet}"


if __name__ == "__main__":
    run_command(main)
