"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewshot.data.store import Dataset, writing

SIZES = {"train": (30, 25, 40, 22, 28, 35, 26, 21), "val": (24,) * 5, "test": (20, 30, 25, 22, 24, 27)}


def write_tiny(path: Path, channels: int = 3, shift: int = 0) -> Path:
    """Three splits of 8×8 images whose pixels are a formula of split, row and position: the same bits everywhere."""
    with writing(path, "tiny", sources={"formula": shift}, resize="none") as writer:
        for number, (split, sizes) in enumerate(SIZES.items()):
            classes = {f"{split}-{c}": size for c, size in enumerate(sizes)}
            writer.add_split(split, classes, (8, 8, channels))
            rows, places = np.arange(sum(sizes))[:, None], np.arange(64 * channels)
            pixels = (rows * 31 + places * 7 + rows * places + number * 101 + shift) % 256
            names = [f"{name}/{i}.png" for name, size in classes.items() for i in range(size)]
            writer.write(split, 0, pixels.astype(np.uint8).reshape(-1, 8, 8, channels), names)
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Dataset:
    """A dataset of 8×8 RGB images: 8, 5 and 6 classes of 20 to 40 images."""
    return Dataset.open(write_tiny(tmp_path / "tiny.h5"))


@pytest.fixture
def write_tiny_file() -> Callable[..., Path]:
    """The function that writes the file of `tiny`, for variants of it."""
    return write_tiny
