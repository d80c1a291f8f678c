"""IDX, the format of MNIST and its kin (described on Y. LeCun's MNIST page)."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import IO

import numpy as np

from data_prep.formats.inflating import inflated
from data_prep.formats.sources import KINDS, Source, peek_kind, read_at_most, reading, source_of, truncated
from fewshot.errors import InputError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LIMIT = 1 << 32


def read_idx(path: Path | Source) -> np.ndarray:
    """The array of an IDX file, gzip-compressed or not: of the type and shape that it says, in native byte order.

    Raises:
        InputError: where the file is something else, or holds more or fewer bytes than its header announces.
    """
    source = source_of(path)
    with reading(source, "idx", "gzip") as raw:
        stream = inflated(raw, "gzip", source.label) if peek_kind(raw) == "gzip" else raw
        if (inner := peek_kind(stream)) != "idx":
            raise InputError(f"{source.label} holds no IDX data but {KINDS[inner]}; give the original ubyte file")
        dtype, shape = _header(stream, source.label)
        expected = math.prod(shape) * dtype.itemsize
        if expected > _LIMIT:
            raise InputError(f"{source.label} claims {expected} bytes, more than any IDX dataset; fetch it again")
        data = read_at_most(stream, expected + 1)
    if len(data) < expected:
        raise truncated(source.label, expected, len(data))
    if len(data) > expected:
        raise InputError(f"{source.label} goes on after the {expected} bytes it announces; fetch it again")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(stream: IO[bytes], label: str) -> tuple[np.dtype, tuple[int, ...]]:
    _, _, code, dimensions = stream.read(4)
    sides = stream.read(4 * dimensions)
    if len(sides) < 4 * dimensions:
        raise truncated(label, 4 + 4 * dimensions, 4 + len(sides))
    return np.dtype(_TYPES[code]), struct.unpack(f">{dimensions}I", sides)
