"""What a dataset declares, and how its files are found or fetched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_prep.fetching import download
from data_prep.fetching.download import Mirror, has_hash
from data_prep.fetching.found import Found
from data_prep.formats.images import Resample
from data_prep.preparing.options import SourceOptions
from data_prep.preparing.plan import Plan
from fewshot.data.catalog import CATALOG, Entry
from fewshot.errors import InputError


class IncompleteError(InputError):
    """Some files of a form are there and others are not; fetching the others may help."""


@dataclass(frozen=True)
class Form:
    """One way in which a dataset circulates.

    Attributes:
        expects: the files it consists of, in words.
        plan: recognises it in a listing; None where it is not there. Raises `InputError` where it is but is no good.
    """

    expects: str
    plan: Callable[[Found], Plan | None]


@dataclass(frozen=True)
class Download:
    """One file with a known name. `known_hash` is `ALGORITHM:HEX`, None where nobody has published one."""

    file_name: str
    mirrors: tuple[Mirror, ...]
    known_hash: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A dataset, as its command sees it.

    Attributes:
        name: of the prepared file, and in the catalog.
        forms: tried in this order.
        downloads: sets of files, any of which is enough; tried in this order.
        resample: usual filter.
        image_size: usual side in pixels; 0 for texts.
        terms: under which it may be used, for who has to get it by hand.
        published_as: `pixels` that are final, so that JPEG files of them are copies with losses; `photographs` to be
            resized, so that JPEG files of the final size are; or `jpeg` files of the final size.
        skip: archives, by their name in the listing, that need not be looked into.
    """

    name: str
    forms: tuple[Form, ...]
    image_size: int
    downloads: tuple[tuple[Download, ...], ...] = ()
    resample: Resample = "bilinear"
    terms: str = ""
    published_as: Literal["pixels", "photographs", "jpeg"] = "pixels"
    skip: Callable[[str], bool] = lambda name: False

    @property
    def entry(self) -> Entry | None:
        """Its published facts; None for somebody's own images."""
        return CATALOG.get(self.name)

    def known_hash(self, file: Path) -> str | None:
        """The published hash of a file of this name."""
        known = {download.file_name: download.known_hash for one in self.downloads for download in one}
        return known.get(file.name)


def locate(recipe: Recipe, options: SourceOptions, fetch: bool) -> tuple[Found, Plan]:
    """Find a form of the dataset at `--from` or in its download folder, or fetch it there where `fetch` allows it.

    Raises:
        InputError: where there is none (telling what would do), or a file in the download folder is not the published
            one.
    """
    if options.source is not None:
        return _found_at(options.source, recipe)
    folder = options.downloads(recipe.name)
    try:
        found, plan = _found_at(folder, recipe)
    except IncompleteError:
        if not fetch:
            raise
        _fetch_any(recipe, folder, options.quiet)
        found, plan = _found_at(folder, recipe)
    for file in found.files(plan.sources):
        if not has_hash(file, recipe.known_hash(file)):
            raise InputError(
                f"{file} is not the published file, whose hash is {recipe.known_hash(file)}; delete it and give the"
                f" same command again, or accept it with --from {file.parent}"
            )
    return found, plan


def _found_at(path: Path, recipe: Recipe) -> tuple[Found, Plan]:
    if path.exists():
        found = Found(path, recipe.skip)
        for form in recipe.forms:
            plan = form.plan(found)
            if plan is not None:
                return found, plan
    raise IncompleteError(f"{path} holds no form of {recipe.name}; put there {_expected(recipe)}")


def _expected(recipe: Recipe) -> str:
    return "; or ".join(form.expects for form in recipe.forms)


def _fetch_any(recipe: Recipe, folder: Path, quiet: bool) -> None:
    failures = []
    for files in recipe.downloads:
        try:
            for file in files:
                download.fetch(file.mirrors, folder, file.known_hash, file.file_name, quiet=quiet)
            return
        except InputError as error:
            failures.append(str(error))
    terms = f" Terms: {recipe.terms}." if recipe.terms else ""
    raise InputError(
        ". ".join([*failures, f"Put into {folder}, or name with --from PATH: {_expected(recipe)}.{terms}"])
    )
