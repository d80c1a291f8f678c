"""Small editions of the datasets in the forms that circulate, and what tests need around them."""

from __future__ import annotations

import dataclasses
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from fewshot.data import catalog
from fewshot.data.catalog import CATALOG, Counts

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def pictures(count: int, size: int = 84, seed: int = 0) -> np.ndarray:
    """Different smooth images, uint8 [count, size, size, 3]."""
    coarse = np.random.Generator(np.random.Philox(seed)).integers(0, 256, (count, 6, 6, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((size, size))) for image in coarse])


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """Its pixels, by Pillow itself."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


class _Python2Pickler(pickle._Pickler):  # pyright: ignore[reportAttributeAccessIssue]
    """Writes every string as Python 2's `str`."""

    def save_old_string(self, obj):
        data = obj.encode() if isinstance(obj, str) else obj
        head = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.write(head + data)
        self.memoize(obj)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, str: save_old_string, bytes: save_old_string}  # pyright: ignore


def python2_pickle(content: object) -> bytes:
    """A pickle as Python 2 with numpy 1 writes it, protocol 2."""
    buffer = io.BytesIO()
    _Python2Pickler(buffer, 2).dump(content)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Files in a folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Files in a zip archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tar_bytes(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    """Files in a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def shrink(monkeypatch, name: str, splits: Mapping[str, Mapping[str, int]]) -> None:
    """Pretend that a dataset was published with these classes and numbers of images only."""
    sizes = {split: Counts(len(classes), sum(classes.values())) for split, classes in splits.items()}
    balanced = all(len(set(classes.values())) == 1 for classes in splits.values())
    entry = dataclasses.replace(CATALOG[name], editions={"small": sizes}, balanced=balanced)
    monkeypatch.setitem(CATALOG._things, name, entry)
    rows = {label: {"split": split} for split, classes in splits.items() for label in classes}
    monkeypatch.setattr(catalog, "class_table", lambda stem: rows)
