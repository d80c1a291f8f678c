"""The embedded dataset *glyphs*: printed characters of twelve scripts, made on this machine without a download.

A class is one character, drawn from the fonts that matplotlib ships (DejaVu and STIX, whose licences lie beside the
masks in `assets`). The splits are disjoint by script, so that the test classes are new in style too. What is stored in
the package is one small mask a character and face; an image is a random variation of one of them, decided by
(seed, character, image number) alone and computed with exact arithmetic: every machine makes the same bits.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.console import progress
from fewshot.data.glyph_variation import SIDE, Variation, vary
from fewshot.data.store import Dataset, writing

NAME = "glyphs"
ALPHABETS: Mapping[str, Mapping[str, str]] = {
    "train": {
        "latin": "aefgkmrstwyzGNQR",
        "greek": "αβθλξπψωΣΩ",
        "cyrillic": "бдзлфъэюяѣыђ",
        "hebrew": "אבגטלמעצקש",
        "arabic": "بجسطعكهم",
        "canadian": "ᐁᑫᒉᓀᓴᔭᖃᖋ",
    },
    "val": {
        "armenian": "շզթլխծջԹ",
        "georgian": "აგდლქშჟჭ",
    },
    "test": {
        "tifinagh": "ⵌⴳⴻⵞⵟⵣ",
        "nko": "ߐߒߘߟߖ",
        "lao": "ກຂຖສພ",
        "lisu": "ꓘꓨꓤꓱ",
    },
}
"""Characters of each split by script, chosen so that no two of all look nearly the same in any face."""

MASKS = Path(__file__).parent / "assets" / "glyph_masks.npz"
_CHUNK = 100  # images at a time: their float64 planes fit a processor's cache


@dataclass(frozen=True)
class Recipe:
    """What, besides the masks, decides every image.

    Attributes:
        variation: how strongly the characters are varied.
        images_per_class: images of each of the 100 classes.
        seed: decides an image together with its character and its number.
    """

    variation: Variation = field(default_factory=Variation)
    images_per_class: int = 400
    seed: int = 20_200_713


RECIPE = Recipe()
"""The benchmark's own."""


@dataclass(frozen=True)
class Character:
    """One class: its name, and a mask for each face that has the character.

    Attributes:
        symbol: the character itself.
        name: its Unicode name, shortened: `greek_small_omega`.
        faces: names of the faces, F of them.
        masks: uint8 [F, 32, 32], signed distances as `data_prep.glyph_masks` writes them.
    """

    symbol: str
    name: str
    faces: tuple[str, ...]
    masks: np.ndarray


def class_name(symbol: str) -> str:
    """The Unicode name of a character as a class name: lower case, underscores, without "letter"."""
    words = unicodedata.name(symbol).lower().replace("-", " ").split()
    return "_".join(word for word in words if word not in ("letter", "syllabics"))


@cache
def characters() -> Mapping[str, tuple[Character, ...]]:
    """The classes of each split, in the order of `ALPHABETS`."""
    with np.load(MASKS, allow_pickle=False) as stored:
        masks, symbols, faces = stored["masks"], stored["symbols"], stored["faces"]

    def character(symbol: str) -> Character:
        rows = np.flatnonzero(symbols == symbol)
        return Character(symbol, class_name(symbol), tuple(str(face) for face in faces[rows]), masks[rows])

    return {
        split: tuple(character(symbol) for symbols_ in scripts.values() for symbol in symbols_)
        for split, scripts in ALPHABETS.items()
    }


def images_of(character: Character, start: int, stop: int, recipe: Recipe = RECIPE) -> tuple[np.ndarray, list[str]]:
    """Images `start` to `stop` of one class; any cutting of the range gives the same images.

    Returns:
        images: uint8 [stop - start, 28, 28, 1].
        file_names: `class/face/number` of each.
    """
    images, faces = vary(character.masks, recipe.variation, (recipe.seed, ord(character.symbol)), start, stop)
    names = [
        f"{character.name}/{character.faces[face]}/{number:04d}"
        for face, number in zip(faces, range(start, stop), strict=True)
    ]
    return images, names


def prepare(path: Path, quiet: bool = False, recipe: Recipe = RECIPE) -> None:
    """Write the dataset to `path`; an existing file there is replaced once the new one is complete.

    Args:
        path: the HDF5 file to write.
        quiet: no progress bar.
        recipe: another one than the benchmark's own makes another dataset, with another fingerprint.

    Raises:
        InputError: where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    count = recipe.images_per_class
    with writing(path, NAME, _sources(recipe), f"drawn at {SIDE}x{SIDE}") as writer, progress(quiet) as bar:
        task = bar.add_task("glyphs", total=sum(map(len, characters().values())), note="")
        for split, classes in characters().items():
            writer.add_split(split, {character.name: count for character in classes}, (SIDE, SIDE, 1))
            for row, character in enumerate(classes):
                for start in range(0, count, _CHUNK):
                    images, names = images_of(character, start, min(start + _CHUNK, count), recipe)
                    writer.write(split, row * count + start, images, names)
                bar.update(task, advance=1, note=character.name)


def is_current(dataset: Dataset) -> bool:
    """Whether a prepared file was made from `RECIPE` and today's masks."""
    return dataset.name == NAME and dataset.sources == _sources(RECIPE)


def _sources(recipe: Recipe) -> dict[str, Any]:
    """Everything that decides the images, as a reader of the prepared file sees it."""
    described = {
        "masks": MASKS.name,
        "masks_sha256": hashlib.sha256(MASKS.read_bytes()).hexdigest(),
        "fonts": "DejaVu and STIX, as shipped with matplotlib",
        **asdict(recipe),
    }
    return json.loads(json.dumps(described))
