"""Producers of the files that circulate, byte-true to their real formats, and of damaged ones."""

import struct
from collections.abc import Iterable
from pathlib import Path

_FIRST = b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03"
_NEXT = b"h\x02h\x03"
_TYPE = b"cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def write_png_pickle(path: Path, blobs: Iterable[bytes]) -> None:
    """A list of uint8 arrays of shape (L, 1), as Python 2.7's cPickle writes it with protocol 2, one blob at a time."""
    with open(path, "wb") as file:
        file.write(b"\x80\x02]q\x01")
        for index, blob in enumerate(blobs):
            batch = b"" if index % 1000 else (b"(" if index == 0 else b"e(")
            file.write(batch + (_FIRST if index == 0 else _NEXT))
            memo = 4 if index == 0 else 6 + index
            put = b"q" + bytes([memo]) if memo < 256 else b"r" + struct.pack("<I", memo)
            file.write(b"K\x00\x85U\x01b\x87R" + put + b"(K\x01" + _number(len(blob)) + b"K\x01\x86")
            file.write((_TYPE if index == 0 else b"h\x06") + b"\x89" + _old_string(blob) + b"tb")
        file.write(b"e.")


def _number(value: int) -> bytes:
    return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)


def _old_string(data: bytes) -> bytes:
    return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<I", len(data)) + data
