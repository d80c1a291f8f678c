"""A foreign file or archive member, and what kind of thing it really is, whatever its name says.

Readers in this package take a `Path` or a `Source`, so that a pickle inside a tar is read like one on disk.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fewshot.errors import InputError

READ_LIMIT = 1 << 28
_BUFFER = 1 << 20
_HEAD = 512

KINDS = {
    "empty": "empty",
    "html": "an HTML page",
    "json": "a JSON message",
    "xml": "an XML message",
    "pointer": "a Git LFS pointer, not the file itself",
    "pickle": "a pickle",
    "zip": "a zip archive",
    "tar": "a tar archive",
    "gzip": "a gzip-compressed file",
    "bzip2": "a bzip2-compressed file",
    "xz": "an xz-compressed file",
    "7z": "a 7z archive",
    "rar": "a rar archive",
    "hdf5": "an HDF5 file",
    "npy": "an npy array",
    "idx": "an IDX file",
    "png": "a PNG image",
    "jpeg": "a JPEG image",
    "unknown": "of no kind known here",
}
DOWNLOAD_FAILURES = ("empty", "html", "json", "xml", "pointer")

_SIGNATURES = (
    ("pickle", rb"\x80[\x02-\x05]"),
    ("zip", rb"PK(\x03\x04|\x05\x06)"),
    ("gzip", rb"\x1f\x8b"),
    ("bzip2", rb"BZh[1-9]"),
    ("xz", rb"\xfd7zXZ\x00"),
    ("7z", rb"7z\xbc\xaf\x27\x1c"),
    ("rar", rb"Rar!\x1a\x07"),
    ("hdf5", rb"\x89HDF\r\n\x1a\n"),
    ("npy", rb"\x93NUMPY"),
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("jpeg", rb"\xff\xd8\xff"),
    ("idx", rb"\x00\x00[\x08\x09\x0b-\x0e][\x01-\x04]"),
    ("pointer", rb"version https://git-lfs"),
    ("xml", rb"(\xef\xbb\xbf)?\s*<\?xml"),
    ("html", rb"(\xef\xbb\xbf)?\s*<(!doctype|!--|html|head|body|script|title|\w+)"),
    ("json", rb'(\xef\xbb\xbf)?\s*(\{\s*("|\}\s*$)|\[\s*["\[{\]0-9])'),
    # Protocols 0 and 1 have no signature: these begin a dictionary, a list, a tuple or an array.
    ("pickle", rb"\([dlptc(\[}\]IJKLFGNVXSUT]|[\]}][q(a.]|c[\w.]+\r?\n[\w.]+\r?\n"),
)


@dataclass(frozen=True)
class Source:
    """Bytes with a name and a declared size that no reader believes before it has counted.

    `open` starts anew at the first byte for files and zip members; a member of a tar can be opened once, before
    the archive's next member is asked for.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    archive: str = ""

    @property
    def label(self) -> str:
        """How errors call it."""
        return f"{self.name} in {self.archive}" if self.archive else self.name

    def read(self, limit: int = READ_LIMIT) -> bytes:
        """All bytes.

        Raises:
            InputError: for more than `limit` bytes, or where the declared size is not what there is.
        """
        if self.size > limit:
            raise InputError(f"{self.label} has {self.size} bytes, more than the {limit} expected: the wrong file")
        with self.open() as stream:
            data = read_at_most(stream, self.size)
        if len(data) != self.size:
            raise truncated(self.label, self.size, len(data))
        return data


def source_of(path: Path | Source) -> Source:
    """A file on disk as a `Source`; a `Source` as it is.

    Raises:
        InputError: where there is no such file, or it cannot be read.
    """
    if isinstance(path, Source):
        return path
    if not Path(path).is_file():
        raise InputError(f"{path} is not a file; give the path of an existing file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read; check its permissions")
    return Source(str(path), Path(path).stat().st_size, lambda: open(path, "rb", buffering=_BUFFER))


def memory_source(name: str, data: bytes) -> Source:
    """Bytes in memory as a `Source`."""
    return Source(name, len(data), lambda: io.BufferedReader(io.BytesIO(data)))  # pyright: ignore[reportArgumentType]


def read_at_most(stream: IO[bytes], count: int) -> bytes:
    """Up to `count` bytes, in memory that grows with what is there and not with what is claimed."""
    pieces = []
    while count > 0 and (piece := stream.read(min(count, _BUFFER))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def identify(path: Path | Source) -> str:
    """What a file is by its content: one of `KINDS`."""
    with source_of(path).open() as stream:
        return identify_bytes(stream.read(_HEAD))


def identify_bytes(head: bytes) -> str:
    """What a file is whose first bytes (512, or all) are `head`: one of `KINDS`."""
    if not head:
        return "empty"
    for kind, signature in _SIGNATURES:
        if re.match(signature, head, re.IGNORECASE if kind in ("html", "xml") else 0):
            return kind
    return "tar" if _is_tar(head) else "unknown"


@contextlib.contextmanager
def reading(path: Path | Source, *kinds: str) -> Iterator[IO[bytes]]:
    """Open a file that must be of one of `kinds`, at its first byte.

    Raises:
        InputError: saying what the file is instead, and what to do about it.
    """
    source = source_of(path)
    with source.open() as stream:
        kind = peek_kind(stream)
        if kind not in kinds:
            raise mistaken(source.label, kind, kinds)
        yield stream


def peek_kind(stream: IO[bytes]) -> str:
    """What a buffered stream holds from here on: one of `KINDS`. Nothing is consumed."""
    return identify_bytes(stream.peek(_HEAD)[:_HEAD])  # pyright: ignore[reportAttributeAccessIssue]


def printable(text: object, limit: int = 100) -> str:
    """What a stranger's file or a library says, cut short and without control characters, for an error's one line."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:limit]).strip()


def mistaken(name: str, kind: str, wanted: tuple[str, ...]) -> InputError:
    """The error for a file that is of another kind than `wanted`."""
    wish = " or ".join(KINDS[other] for other in wanted)
    if kind in DOWNLOAD_FAILURES:
        return InputError(f"{name} is {KINDS[kind]} instead of {wish}: a failed download; delete it and fetch it again")
    return InputError(f"{name} is {KINDS[kind]} instead of {wish}; it is damaged or the wrong file")


def truncated(name: str, expected: int, actual: int) -> InputError:
    """The error for a file that ends too early."""
    return InputError(f"{name} is truncated: {actual} of {expected} bytes; delete it and fetch it again")


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True
