"""One picture of a prepared dataset: a row of examples for every class, a band of classes for every split."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fewshot.data.store import Dataset, Split
from fewshot.errors import InputError
from fewshot.files import replacing

CLASSES_PER_SPLIT = 66
_COLUMNS = 3  # blocks of classes side by side
_TILE, _NAME, _HEADING = 0.28, 1.7, 0.4  # inches: side of an example, width for class names, height of a heading
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
    chosen = {name: _chosen(split, classes) for name, split in dataset.splits.items()}
    _refuse_unknown(dataset, classes)
    chosen = {name: rows for name, rows in chosen.items() if len(rows)}
    depths = {name: -(-min(len(rows), CLASSES_PER_SPLIT) // _COLUMNS) for name, rows in chosen.items()}
    width = _COLUMNS * (_NAME + per_class * _TILE) + 0.1
    height = sum(depths.values()) * _TILE + (len(depths) + 1) * _HEADING + 0.1
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH)
    figure.text(0.1 / width, 1 - 0.25 / height, f"{dataset.name}   {dataset.fingerprint[:12]}", fontsize=11)
    top = height - _HEADING
    for name, rows in chosen.items():
        _draw_band(figure, dataset[name], rows, per_class, top)
        top -= depths[name] * _TILE + _HEADING
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _refuse_unknown(dataset: Dataset, classes: Collection[str] | None) -> None:
    known = {name for split in dataset.splits.values() for name in split.class_names}
    unknown = sorted(set(classes or ()) - known)
    if unknown:
        raise InputError(f"{dataset.path} has no class {unknown[0]!r}; it has, among others, {sorted(known)[0]!r}")


def _chosen(split: Split, classes: Collection[str] | None) -> np.ndarray:
    """Indices of the classes to show, before any are left out."""
    return np.array(
        [row for row, name in enumerate(split.class_names) if classes is None or name in classes], dtype=int
    )


def _draw_band(figure: Figure, split: Split, rows: np.ndarray, per_class: int, top: float) -> None:
    """Draw one split whose heading starts `top` inches above the figure's foot."""
    shown = rows[_spread(len(rows), CLASSES_PER_SPLIT)]
    left_out = f", {len(shown)} of them shown" if len(shown) < len(rows) else ""
    width, height = figure.get_size_inches()
    heading = f"{split.name}: {len(split.class_names)} classes, {len(split.images)} images{left_out}"
    figure.text(0.1 / width, (top - 0.3) / height, heading, fontsize=9)
    depth = -(-len(shown) // _COLUMNS)
    for column in range(-(-len(shown) // depth)):
        block = shown[column * depth : (column + 1) * depth]
        left = column * (_NAME + per_class * _TILE) + _NAME
        size = per_class * _TILE, len(block) * _TILE
        bottom = top - _HEADING - size[1]
        axes = figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))
        _draw_block(axes, split, block, per_class)


def _draw_block(axes: Axes, split: Split, rows: np.ndarray, per_class: int) -> None:
    side_y, side_x, channels = split.shape[1:]
    sheet = np.full((len(rows), side_y, per_class, side_x, channels), 255, dtype=np.uint8)
    for place, row in enumerate(rows):
        examples = split.class_offsets[row] + _spread(int(split.class_sizes[row]), per_class)
        sheet[place, :, : len(examples)] = split.images[examples].swapaxes(0, 1)
    sheet = sheet.reshape(len(rows) * side_y, per_class * side_x, channels)
    axes.imshow(sheet if channels == 3 else sheet[..., 0], cmap="gray", vmin=0, vmax=255, aspect="auto")
    names = [split.class_names[row] for row in rows]
    short = [name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…" for name in names]
    axes.set_yticks((np.arange(len(rows)) + 0.5) * side_y - 0.5, short, fontsize=7)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _spread(available: int, wanted: int) -> np.ndarray:
    """At most `wanted` indices below `available`, evenly spread."""
    return np.arange(min(wanted, available)) * available // max(1, min(wanted, available))
