"""One picture of a prepared dataset: a row of examples for every class, a band of classes for every split."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewshot.data.store import Dataset, Split
from fewshot.errors import InputError
from fewshot.files import replacing

CLASSES_PER_SPLIT = 66
_COLUMNS = 3  # blocks of classes side by side
_TILE, _NAME, _HEADING, _MARGIN = 0.28, 1.7, 0.4, 0.1  # inches: an example, a class name, a split's heading
_LETTERS = 30  # of a class name that fit beside its row
_DOTS_PER_INCH = 150


def contact_sheet(dataset: Dataset, path: Path, per_class: int = 12, classes: Collection[str] | None = None) -> None:
    """Write a PNG of the dataset: a row of examples a class, beside its name, grouped by split.

    The examples of a class are spread evenly over its images. Of a split with more than `CLASSES_PER_SPLIT` classes
    that many are shown, spread evenly too, and the heading says so.

    Args:
        dataset: a dataset of any image size, grey or RGB.
        path: the PNG to write.
        per_class: examples of each class.
        classes: the names of the classes to show; `None` shows all.

    Raises:
        InputError: where the dataset lacks one of `classes`, or `path` cannot be written.
    """
    _refuse_unknown(dataset, classes)
    bands = [band for split in dataset.splits.values() if len((band := _band(split, classes)).rows)]
    width = _COLUMNS * (_NAME + per_class * _TILE) + _MARGIN
    height = sum(band.depth * _TILE + _HEADING for band in bands) + _HEADING + _MARGIN
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH)
    figure.text(
        _MARGIN / width,
        1 - 0.25 / height,
        f"{dataset.name}   {dataset.fingerprint[:12]}",
        fontsize=11,
        parse_math=False,
    )
    top = height - _HEADING
    for band in bands:
        _draw_band(figure, band, per_class, top)
        top -= band.depth * _TILE + _HEADING
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


@dataclass(frozen=True)
class _Band:
    """The part of the sheet that shows one split: classes `rows` of it."""

    split: Split
    rows: np.ndarray
    heading: str

    @property
    def depth(self) -> int:
        """Rows of classes, the band's height in tiles."""
        return -(-len(self.rows) // _COLUMNS)


def _refuse_unknown(dataset: Dataset, classes: Collection[str] | None) -> None:
    known = {name for split in dataset.splits.values() for name in split.class_names}
    unknown = sorted(set(classes or ()) - known)
    if unknown:
        raise InputError(f"{dataset.path} has no class {unknown[0]!r}; it has, among others, {sorted(known)[0]!r}")


def _band(split: Split, classes: Collection[str] | None) -> _Band:
    wanted = [row for row, name in enumerate(split.class_names) if classes is None or name in classes]
    rows = np.array(wanted, dtype=np.int64)[_spread(len(wanted), CLASSES_PER_SPLIT)]
    note = f" ({len(rows)} shown)" if len(rows) < len(split.class_names) else ""
    images = int(split.class_offsets[-1])
    return _Band(split, rows, f"{split.name}: {len(split.class_names)} classes{note}, {images} images")


def _draw_band(figure: Figure, band: _Band, per_class: int, top: float) -> None:
    """Draw a band whose heading starts `top` inches above the figure's foot."""
    width, height = figure.get_size_inches()
    figure.text(_MARGIN / width, (top - 0.3) / height, band.heading, fontsize=9)
    for column, start in enumerate(range(0, len(band.rows), band.depth)):
        block = band.rows[start : start + band.depth]
        left = column * (_NAME + per_class * _TILE) + _NAME
        size = per_class * _TILE, len(block) * _TILE
        bottom = top - _HEADING - size[1]
        axes = figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))
        _draw_block(axes, band.split, block, per_class)


def _draw_block(axes: Axes, split: Split, rows: np.ndarray, per_class: int) -> None:
    side_y, side_x, channels = split.shape[1:]
    sheet = np.full((len(rows), side_y, per_class, side_x, channels), 255, dtype=np.uint8)
    for place, row in enumerate(rows):
        examples = split.class_offsets[row] + _spread(int(split.class_sizes[row]), per_class)
        sheet[place, :, : len(examples)] = split.read(examples).swapaxes(0, 1)
    sheet = sheet.reshape(len(rows) * side_y, per_class * side_x, channels)
    axes.imshow(np.broadcast_to(sheet, (*sheet.shape[:2], 3)), aspect="auto")
    names = [split.class_names[row] for row in rows]
    short = [name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…" for name in names]
    axes.set_yticks((np.arange(len(rows)) + 0.5) * side_y - 0.5, short, fontsize=7, parse_math=False)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _spread(available: int, wanted: int) -> np.ndarray:
    """At most `wanted` indices below `available`, evenly spread."""
    return np.arange(min(wanted, available)) * available // max(1, min(wanted, available))
