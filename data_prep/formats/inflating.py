"""Streams of foreign data: decompressed within limits, and failing with an `InputError` only."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from data_prep.formats.sources import printable
from fewshot.errors import InputError

MAX_RATIO = 200
UNSUSPICIOUS = 1 << 28
INFLATERS: dict[str, Callable[[IO[bytes]], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_CHUNK = 1 << 20
_DAMAGE = (
    tarfile.ReadError,
    tarfile.CompressionError,
    tarfile.HeaderError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    OverflowError,
    NotImplementedError,
)


def inflated(raw: IO[bytes], kind: str, label: str) -> IO[bytes]:
    """Decompress `raw`, which is of `kind` (a key of `INFLATERS`).

    Reading raises `InputError` where the data is damaged or truncated, or grows out of all proportion.
    """
    with explained(label):
        return checked(INFLATERS[kind](raw), label, raw)


def checked(inner: Any, label: str, compressed: IO[bytes] | None = None) -> IO[bytes]:
    """A buffered stream over `inner` that fails with `InputError` only; see `inflated`."""
    return io.BufferedReader(_Checked(inner, label, compressed), _CHUNK if compressed else 1 << 16)


def refuse_bomb(label: str, size: int, compressed: int) -> None:
    """Refuse data that grows more than `MAX_RATIO`-fold to more than `UNSUSPICIOUS` bytes.

    Raises:
        InputError: naming both sizes.
    """
    if size > UNSUSPICIOUS and size > MAX_RATIO * compressed:
        raise InputError(f"{label} inflates {compressed} bytes to {size} or more, as no dataset does; get the original")


@contextlib.contextmanager
def explained(label: str) -> Iterator[None]:
    """Turn what the standard library raises over damaged archives into an `InputError`.

    Raises:
        InputError: saying what was raised in the `with` block.
    """
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        text = printable(error) or type(error).__name__
        raise InputError(f"{label} is truncated or damaged ({text}); delete it and fetch it again") from error


class _Checked(io.RawIOBase):
    def __init__(self, inner: Any, label: str, compressed: IO[bytes] | None) -> None:
        self._inner, self._label, self._compressed = inner, label, compressed
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with explained(self._label):
            data = self._inner.read(min(len(buffer), _CHUNK))
        self._given += len(data)
        if self._compressed is not None:
            refuse_bomb(self._label, self._given, self._compressed.tell())
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._inner.close()
        super().close()
