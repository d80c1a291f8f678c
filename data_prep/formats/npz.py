"""Arrays inside .npz archives, read in slices of rows."""

from __future__ import annotations

import contextlib
import math
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from data_prep.formats.archives import open_archive
from data_prep.formats.sources import Source, printable, reading, source_of, truncated
from fewshot.errors import InputError

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npz_shape(path: Path | Source, key: str) -> tuple[int, ...]:
    """The shape of array `key`. Raises `InputError` as `iterate_npz`."""
    with _array(path, key) as (_, shape, _, _):
        return shape


def iterate_npz(path: Path | Source, key: str, rows: int = 1024) -> Iterator[np.ndarray]:
    """Array `key` in slices [up to `rows`, ...] of its own type, compressed or not, without loading the whole.

    Raises:
        InputError: where the file is no .npz, has no such array, is truncated or damaged, or its array holds objects.
    """
    with _array(path, key) as (stream, shape, dtype, label):
        row_bytes = math.prod(shape[1:]) * dtype.itemsize
        for start in range(0, shape[0], rows):
            count = min(rows, shape[0] - start)
            data = stream.read(count * row_bytes)
            if len(data) != count * row_bytes:
                raise truncated(label, count * row_bytes, len(data))
            yield np.frombuffer(data, dtype).reshape(count, *shape[1:])
        if stream.read(1):
            raise InputError(f"{label} goes on after the rows of shape {shape} it announces; fetch it again")


@contextlib.contextmanager
def _array(path: Path | Source, key: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype, str]]:
    source = source_of(path)
    others = []
    for member in open_archive(source):
        if member.name == f"{key}.npy":
            with reading(member, "npy") as stream:
                shape, dtype = _header(stream, member)
                yield stream, shape, dtype, member.label
            return
        others.append(member.name.removesuffix(".npy"))
    raise InputError(f"{source.label} has no array {key!r}, only: {', '.join(others)[:200]}; give the right file")


def _header(stream: IO[bytes], member: Source) -> tuple[tuple[int, ...], np.dtype]:
    try:
        with warnings.catch_warnings(action="ignore"):  # numpy warns of Python 2's "84L"
            shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except (ValueError, LookupError, TypeError, SyntaxError, RecursionError, tokenize.TokenError) as error:
        raise InputError(f"{member.label} has a damaged header ({printable(error)}); fetch it again") from error
    if dtype.hasobject or fortran or not shape or shape[0] < 0 or min(dtype.itemsize, *shape[1:], 1) < 1:
        raise InputError(f"{member.label} is an array of {dtype} {shape}, not of plain rows; give the right file")
    if math.prod(shape) * dtype.itemsize > member.size:
        raise InputError(f"{member.label} claims shape {shape} but has {member.size} bytes; fetch it again")
    return shape, dtype
