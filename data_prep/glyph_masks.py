"""Draw the base masks of the *glyphs* dataset from the fonts that matplotlib ships.

The package holds the result (`fewshot/data/assets/glyph_masks.npz`); this needs to run again only when the characters
or the faces change. A mask is a signed distance: 32 x 32 uint8 values, 128 on the outline, 8 more for each sample
further inside and 8 fewer for each one outside, up to 4 samples. The glyph's bounding box is scaled to 24 samples
along its longer side and centred. Distances let an outline be thickened, thinned and smoothed by plain arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile

import matplotlib
import numpy as np
import tyro
from matplotlib.ft2font import FT2Font, LoadFlags
from scipy.ndimage import distance_transform_edt, map_coordinates

from fewshot.console import progress, run_command
from fewshot.data.glyph_variation import DISTANCE_STEPS, DISTANCE_ZERO, GLYPH_SIDE, MASK_SIDE
from fewshot.data.glyphs import ALPHABETS, MASKS
from fewshot.files import replacing

FACES = {
    "DejaVuSans": "dejavu-sans",
    "DejaVuSans-Bold": "dejavu-sans-bold",
    "DejaVuSans-Oblique": "dejavu-sans-oblique",
    "DejaVuSerif": "dejavu-serif",
    "DejaVuSerif-Bold": "dejavu-serif-bold",
    "DejaVuSerif-Italic": "dejavu-serif-italic",
    "DejaVuSansMono": "dejavu-sans-mono",
    "DejaVuSansMono-Bold": "dejavu-sans-mono-bold",
    "STIXGeneral": "stix",
    "STIXGeneralBol": "stix-bold",
    "STIXGeneralItalic": "stix-italic",
}
"""Font files without `.ttf`, and what the dataset calls them."""

LICENCES = ("LICENSE_DEJAVU", "LICENSE_STIX")
_FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
_POINTS = 256  # high enough that neither hinting nor pixels show in a mask
_FARTHEST = 4  # samples; distances are cut off there


@dataclass(frozen=True)
class Options:
    """Draw the base masks of the glyphs dataset from matplotlib's fonts."""

    out: Path = MASKS
    """Where to write the masks; the fonts' licences are copied beside them."""
    quiet: bool = False
    """No progress bar."""


def draw_masks(quiet: bool = False) -> dict[str, np.ndarray]:
    """Every mask that the fonts have glyphs for, sorted by character, then face.

    Returns:
        masks: uint8 [n, 32, 32].
        symbols: the character of each, str [n].
        faces: the face of each, str [n].
        matplotlib: the version whose fonts these are, str [].
    """
    symbols = [symbol for scripts in ALPHABETS.values() for characters in scripts.values() for symbol in characters]
    rows: list[tuple[str, str, np.ndarray]] = []
    with progress(quiet) as bar:
        task = bar.add_task("faces", total=len(FACES), note="")
        for file_name, face in FACES.items():
            rows += [(symbol, face, mask) for symbol, mask in _masks_of_face(_FONTS / f"{file_name}.ttf", symbols)]
            bar.update(task, advance=1, note=face)
    rows.sort(key=lambda row: row[:2])
    return {
        "masks": np.stack([mask for _, _, mask in rows]),
        "symbols": np.array([symbol for symbol, _, _ in rows]),
        "faces": np.array([face for _, face, _ in rows]),
        "matplotlib": np.array(matplotlib.__version__),
    }


def _masks_of_face(font_file: Path, symbols: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    font = FT2Font(str(font_file))
    font.set_size(_POINTS, 72)
    present = font.get_charmap()  # without this check, a missing glyph would come out as a box
    for symbol in symbols:
        if ord(symbol) in present:
            font.set_text(symbol, 0, flags=LoadFlags.NO_HINTING)
            font.draw_glyphs_to_bitmap(antialiased=False)
            yield symbol, _mask(np.asarray(font.get_image()) > 0)


def _mask(ink: np.ndarray) -> np.ndarray:
    """The mask of a glyph from its bitmap at high resolution, bool [h, w]."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pixels_per_sample = max(ink.shape) / GLYPH_SIDE
    ink = np.pad(ink, int((_FARTHEST + 1) * pixels_per_sample))
    inside, outside = np.asarray(distance_transform_edt(ink)), np.asarray(distance_transform_edt(~ink))
    grid = (np.arange(MASK_SIDE) - (MASK_SIDE - 1) / 2) * pixels_per_sample
    places = np.meshgrid(*(grid + (side - 1) / 2 for side in ink.shape), indexing="ij")
    sampled = map_coordinates((inside - outside) / pixels_per_sample, places, order=1, mode="nearest")
    return (np.round(np.clip(sampled, -_FARTHEST, _FARTHEST) * DISTANCE_STEPS) + DISTANCE_ZERO).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = tyro.cli(Options, args=arguments, description=Options.__doc__)
    drawn = draw_masks(options.quiet)
    with replacing(options.out) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **drawn)  # pyright: ignore[reportArgumentType]  # no key is "allow_pickle"
    for licence in LICENCES:
        copyfile(_FONTS / licence, options.out.parent / licence)
    print(f"{options.out}: {len(drawn['masks'])} masks of {len(set(drawn['symbols']))} characters")


if __name__ == "__main__":
    run_command(main)
