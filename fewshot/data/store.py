"""One HDF5 file a dataset: examples sorted by class, memory-mapped for reading, verified before it appears.

Layout, schema version 1. One group per split (`train`, `val`, `test`) with

    images         uint8 [n, H, W, C], contiguous, sorted by class; or of texts
    tokens         uint16 [n, L], likewise: numbers of words
    class_offsets  int64 [classes + 1]; class c owns rows class_offsets[c] to class_offsets[c + 1]
    class_names    str [classes]
    file_names     str [n], where each example came from

for texts `vocabulary`, str [V], what the numbers mean; and the file attributes `schema_version`, `name`, `sources`
(JSON), `resize` (what was done to the examples), `fingerprint`, and of images perhaps `pixels` (what they are).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import h5py
import numpy as np
import numpy.typing as npt

from fewshot.console import progress
from fewshot.data.stamps import check_once
from fewshot.errors import InputError
from fewshot.files import replacing, reserve

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test")
_HASH_CHUNK = 1 << 24
_BYTES_OF_NAMES = 512  # of a row: its file name, with what HDF5 adds
_SLACK = 1 << 20
_READ_BETWEEN_UNMAPPINGS = 1 << 22
_LONG_TO_HASH = 1 << 28
_NAMES_HASH = "names_sha256"


@dataclass(eq=False)
class Split:
    """The images of one split, mapped from the file on first use.

    Holds no open HDF5 handle, and pickles as a path and an offset: worker processes map the same pages.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    byte_offset: int
    class_offsets: np.ndarray
    class_names: list[str]
    stamp: tuple[int, int]
    _mapped: _Mapped | None = field(default=None, repr=False)

    array: ClassVar[str] = "images"
    """Name of the array in the file; a subclass may map another kind of it."""
    dtype: ClassVar[np.dtype] = np.dtype(np.uint8)
    dimensions: ClassVar[int] = 4

    @property
    def images(self) -> np.ndarray:
        """All images, uint8 [n, H, W, C], read-only: a view of the file. Use `read` where memory matters.

        Raises:
            InputError: where the file was replaced or changed since the dataset was opened.
        """
        return self._map().array

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Copy some images: uint8 [len(rows), H, W, C]. Resident memory stays bounded however many are read."""
        return self._map().read(rows)

    @property
    def class_sizes(self) -> np.ndarray:
        """Images per class, int64 [classes]."""
        return np.diff(self.class_offsets)

    def file_names(self) -> list[str]:
        """The origin of every image, in row order (read from the file at each call)."""
        with _opened(self.path) as file:
            return _strings(file, f"{self.name}/file_names")

    @classmethod
    def index(cls, path: Path, name: str, file: h5py.File) -> Self:
        """Where the array of one split lies in an open file, and what belongs to it.

        Raises:
            ValueError: where the array, its class offsets or its names are not what they should be.
        """
        array = _array(file, f"{name}/{cls.array}")
        byte_offset = array.id.get_offset()
        if array.dtype != cls.dtype or array.ndim != cls.dimensions or byte_offset is None:
            raise ValueError(f"{cls.array} of split {name!r} are not contiguous {cls.dtype}, {cls.dimensions} axes")
        if byte_offset + array.size * array.dtype.itemsize > path.stat().st_size:
            raise ValueError(f"{cls.array} of split {name!r} end beyond the file")
        offsets = np.asarray(_array(file, f"{name}/class_offsets")[:])
        if offsets[0] != 0 or offsets[-1] != len(array) or (np.diff(offsets) < 0).any():
            raise ValueError(f"class offsets of split {name!r} do not cover its {cls.array}")
        class_names = _strings(file, f"{name}/class_names")
        if len(class_names) != len(offsets) - 1 or len(_array(file, f"{name}/file_names")) != len(array):
            raise ValueError(f"split {name!r} does not name all of its classes and {cls.array}")
        return cls(path, name, array.shape, byte_offset, offsets, class_names, _stamp(path))

    def _map(self) -> _Mapped:
        if self._mapped is None:
            self._mapped = _Mapped(self)
        return self._mapped

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}


@dataclass(eq=False)
class TokenSplit(Split):
    """The texts of one split: `read` gives numbers of their words in the vocabulary, uint16 [m, L]."""

    array: ClassVar[str] = "tokens"
    dtype: ClassVar[np.dtype] = np.dtype(np.uint16)
    dimensions: ClassVar[int] = 2


_KINDS: tuple[type[Split], ...] = (Split, TokenSplit)


class _Mapped:
    """A split's pages in this process. The kernel keeps them cached; they are unmapped now and then to bound RSS."""

    def __init__(self, split: Split) -> None:
        with _reading(split.path) as file:
            if _stamp(file.fileno()) != split.stamp:  # of the open file: the path may lead to another one by now
                raise InputError(f"{split.path} changed since it was opened; start again to use the new file")
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        size = int(np.prod(split.shape))
        self.array = np.frombuffer(self._pages, split.dtype, size, split.byte_offset).reshape(split.shape)
        self._bytes_read = 0

    def read(self, where: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
        values = self.array[where]
        self._bytes_read += values.nbytes
        if self._bytes_read > _READ_BETWEEN_UNMAPPINGS and hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED)  # views of them stay good: what is touched is mapped again
            self._bytes_read = 0
        return values


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset: its splits by name, and its provenance."""

    path: Path
    name: str
    fingerprint: str
    sources: Any
    resize: str
    splits: Mapping[str, Split]
    pixels: str = ""
    """What its images are, beside the published ones: `original`, `resized`, `re-encoded`; "" where none has said."""

    def __getitem__(self, split: str) -> Split:
        if split not in self.splits:
            raise InputError(f"{self.path} has no split {split!r}; it has: {', '.join(self.splits)}")
        return self.splits[split]

    @classmethod
    def open(cls, path: Path | str) -> Dataset:
        """Read the index of a prepared file; images are mapped later, on first use.

        A file is compared with its fingerprint when it is opened for the first time, and again when it has changed.

        Raises:
            InputError: where the file is absent, truncated, damaged, not HDF5, or of another schema version.
        """
        dataset = cls._indexed(Path(path))
        check_once(dataset.path, dataset.fingerprint, dataset.verify)
        return dataset

    @classmethod
    def _indexed(cls, path: Path) -> Dataset:
        with _opened(path) as file:
            version = file.attrs.get("schema_version")
            if version != SCHEMA_VERSION:
                raise InputError(
                    f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}; prepare it again"
                )
            try:
                return cls(
                    path=path,
                    name=str(file.attrs["name"]),
                    fingerprint=str(file.attrs["fingerprint"]),
                    sources=json.loads(str(file.attrs["sources"])),
                    resize=str(file.attrs["resize"]),
                    splits=_splits(path, file),
                    pixels=str(file.attrs.get("pixels", "")),
                )
            except (KeyError, ValueError, TypeError, IndexError, OSError, RuntimeError) as error:
                raise InputError(
                    f"{path} is not a complete dataset file ({error}); prepare the dataset again"
                ) from error

    def vocabulary(self) -> list[str]:
        """What the numbers of texts mean, in order; empty for images (read from the file at each call)."""
        with _opened(self.path) as file:
            return _strings(file, "vocabulary") if "vocabulary" in file else []

    def verify(self) -> None:
        """Hash every image or text again, and all names.

        Raises:
            InputError: where the file's content no longer has the fingerprint it was written with.
        """
        size = sum(math.prod(split.shape) * split.dtype.itemsize for split in self.splits.values())
        with progress(quiet=size < _LONG_TO_HASH) as bars:
            # in MiB, rounded up
            bar = bars.add_task(f"checking {self.path.name}, once (MiB)", total=-(-size >> 20), note="")
            actual = fingerprint(self.splits, lambda count: bars.advance(bar, count / (1 << 20)))
        if actual != self.fingerprint:
            raise InputError(
                f"{self.path} is damaged: fingerprint {actual}, written as {self.fingerprint}; prepare it again"
            )
        with _opened(self.path) as file:
            written = file.attrs.get(_NAMES_HASH)  # None in files from before there were such hashes
            if written is not None and str(written) != _hash_of_names(file):
                raise InputError(
                    f"{self.path} is damaged: its names are not those it was written with; prepare it again"
                )


class DatasetWriter:
    """Fills the file that `writing` opened. Rows of a split may be written in any order, each exactly once."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._written: dict[str, np.ndarray] = {}
        self._kinds: dict[str, type[Split]] = {}
        self.pixels = ""
        """What the images are, for `Dataset.pixels`."""

    def add_split(
        self, split: str, classes: Mapping[str, int], row_shape: tuple[int, ...], kind: type[Split] = Split
    ) -> None:
        """Allocate a split.

        Args:
            split: one of `SPLITS`.
            classes: number of examples of each class by class name, in class order.
            row_shape: (H, W, C) of images, (L,) of texts.
            kind: `Split` for images, `TokenSplit` for texts.

        Raises:
            InputError: where the disk has no room for it.
        """
        offsets = np.concatenate([[0], np.cumsum(list(classes.values()), dtype=np.int64)]).astype(np.int64)
        shape = (int(offsets[-1]), *row_shape)
        group = self._file.create_group(split)
        create_contiguous(group, kind.array, shape, kind.dtype)
        group.create_dataset("class_offsets", data=offsets)
        group.create_dataset("class_names", data=list(classes), dtype=h5py.string_dtype())
        group.create_dataset("file_names", shape=shape[:1], dtype=h5py.string_dtype())
        self._written[split], self._kinds[split] = np.zeros(shape[0], dtype=bool), kind

    def add_vocabulary(self, words: Sequence[str]) -> None:
        """Say what the numbers of texts mean, in order."""
        self._file.create_dataset("vocabulary", data=list(words), dtype=h5py.string_dtype())

    def write(self, split: str, start: int, examples: np.ndarray, file_names: Sequence[str]) -> None:
        """Write rows `start` to `start + len(examples)` of a split.

        Args:
            split: one that `add_split` allocated.
            start: the first row, from 0.
            examples: uint8 [m, H, W, C] of images, uint16 [m, L] of texts.
            file_names: the origin of each, m strings.

        Raises:
            ValueError: where examples and rows do not fit, or a row was written before.
        """
        rows, kind = slice(start, start + len(examples)), self._kinds[split]
        stored, names = _array(self._file, f"{split}/{kind.array}"), _array(self._file, f"{split}/file_names")
        if examples.dtype != kind.dtype or examples.shape[1:] != stored.shape[1:]:
            raise ValueError(f"rows are {examples.dtype} {examples.shape[1:]}, not {kind.dtype} {stored.shape[1:]}")
        if start < 0 or rows.stop > len(stored) or self._written[split][rows].any():
            raise ValueError(f"rows {rows.start} to {rows.stop} of {split!r} are outside the split or already written")
        if len(file_names) != len(examples):
            raise ValueError(f"{len(file_names)} file names for {len(examples)} {kind.array}")
        stored[rows] = examples
        names[rows] = list(file_names)
        self._written[split][rows] = True

    def check_complete(self) -> None:
        """Raise `ValueError` unless every row of every split has been written."""
        for split, written in self._written.items():
            if not written.all():
                raise ValueError(f"{int((~written).sum())} of {len(written)} rows of {split!r} were never written")


@contextlib.contextmanager
def writing(path: Path | str, name: str, sources: Any, resize: str) -> Iterator[DatasetWriter]:
    """Write a dataset file beside `path`; once complete and verified it takes that name.

    Args:
        path: the final name.
        name: the dataset's name.
        sources: provenance, anything JSON can hold (file names with their hashes, say).
        resize: how images were resized, in words.

    Raises:
        InputError: where the folder cannot be written or the disk is full.
    """
    with replacing(Path(path)) as temporary:
        reserve(temporary, _SLACK)  # a full disk is told at once; opening the file gives the room back
        # `replacing` holds the lock on the file; HDF5's own would collide with it.
        with h5py.File(temporary, "w", libver="v110", locking=False) as file:
            writer = DatasetWriter(file)
            yield writer
            writer.check_complete()
            file.attrs.update(schema_version=SCHEMA_VERSION, name=name, sources=json.dumps(sources), resize=resize)
            file.attrs["fingerprint"] = ""
            if writer.pixels:
                file.attrs["pixels"] = writer.pixels
            file.attrs[_NAMES_HASH] = _hash_of_names(file)
        # The fingerprint is of bytes read from the file, which has to be closed before. Closed again after changes, it
        # gives back what was reserved and not used.
        with h5py.File(temporary, "r+", locking=False) as file:
            file.attrs["fingerprint"] = fingerprint(_splits(temporary, file))


def create_contiguous(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> h5py.Dataset:
    """Allocate an array as one extent whose place in the file is known at once, which is what readers map.

    Raises:
        InputError: where the disk has no room for the array and the names of its rows.
    """
    room = math.prod(shape) * np.dtype(dtype).itemsize + shape[0] * _BYTES_OF_NAMES + _SLACK
    reserve(Path(group.file.filename), room)
    # h5py's `create_dataset` leaves the place open until the first row is written.
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_layout(h5py.h5d.CONTIGUOUS)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)  # whoever creates it writes every row
    kind = h5py.h5t.py_create(np.dtype(dtype))
    return h5py.Dataset(h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(shape), early))


def fingerprint(splits: Mapping[str, Split], advance: Callable[[int], None] = lambda count: None) -> str:
    """SHA-256 over the images or tokens and class offsets of all splits, as 64 hexadecimal digits.

    Args:
        splits: of one file.
        advance: told the number of bytes hashed since the last time.
    """
    digest = hashlib.sha256()
    for name in sorted(splits):
        split = splits[name]
        digest.update(f"{name} {split.shape}\n".encode())
        digest.update(split.class_offsets.astype("<i8").tobytes())
        for chunk in _chunks(split):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def _hash_of_names(file: h5py.File) -> str:
    """SHA-256 over the names of classes, files and words, and what the file says of itself."""
    digest = hashlib.sha256()
    for name in ("name", "sources", "resize", "pixels"):
        digest.update(f"{name} {file.attrs.get(name, '')}\n".encode())
    arrays = [f"{split}/{kind}" for split in SPLITS if split in file for kind in ("class_names", "file_names")]
    for name in [*arrays, *(["vocabulary"] if "vocabulary" in file else [])]:
        digest.update(f"{name}\n".encode())
        digest.update("\0".join(_strings(file, name)).encode())  # no name has a zero in it
    return digest.hexdigest()


def _chunks(split: Split) -> Iterator[bytes]:
    remaining = math.prod(split.shape) * split.dtype.itemsize
    with _reading(split.path) as file:
        file.seek(split.byte_offset)
        while remaining and (chunk := file.read(min(_HASH_CHUNK, remaining))):
            remaining -= len(chunk)
            yield chunk


def _splits(path: Path, file: h5py.File) -> dict[str, Split]:
    return {name: _kind_of(file, name).index(path, name, file) for name in SPLITS if name in file}


def _kind_of(file: h5py.File, split: str) -> type[Split]:
    return next((kind for kind in _KINDS if f"{split}/{kind.array}" in file), Split)


def _array(file: h5py.File, name: str) -> h5py.Dataset:
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"{name} is not an array")
    return item


def _strings(file: h5py.File, name: str) -> list[str]:
    return [str(string) for string in _array(file, name).asstr()[:]]


def _stamp(file: Path | int) -> tuple[int, int]:
    """Size and time of change: enough to notice that a file is not the one that was indexed."""
    status = os.stat(file)
    return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        file = open(path, "rb")  # noqa: SIM115  # closed below; only its opening may fail with a message of ours
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; prepare the dataset again") from error
    with file:
        yield file


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise InputError(f"{path} does not exist; run `python -m data_prep.NAME` or give another --data folder")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise InputError(f"{path} is truncated or not an HDF5 file; prepare the dataset again") from error
    with file:
        yield file
