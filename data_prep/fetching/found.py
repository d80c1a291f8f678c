"""What lies at a path: the files of a folder, and the members of the archives among them, as one flat listing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

from data_prep.formats.archives import open_archive
from data_prep.formats.sources import Source, source_of
from fewshot.errors import InputError

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_LISTED_SINGLY = 64
_CHUNK = 1 << 22


class Found:
    """A listing of everything below a path.

    Attributes:
        path: the file or folder.
        names: for each file or archive member its file on disk; `ARCHIVE/MEMBER` for members, relative to the folder.

    Raises:
        InputError: where an archive is damaged or dangerous, or a file cannot be read.
    """

    def __init__(self, path: Path, skip: Callable[[str], bool] = lambda name: False) -> None:
        """List `path`; archives whose name `skip` accepts are not looked into."""
        self.path = path
        self._skip = skip
        self.names: dict[str, Path] = {name: file for name, file, _ in self._walk()}

    def sources(self, wanted: Container[str]) -> Iterator[tuple[str, Source]]:
        """The wanted files, in the order in which they lie there; read each before asking for the next."""
        return ((name, source) for name, _, source in self._walk(wanted) if name in wanted)

    def files(self, wanted: Container[str]) -> list[Path]:
        """The files on disk that hold the wanted names, in order."""
        return list(dict.fromkeys(file for name, file in self.names.items() if name in wanted))

    def _walk(self, wanted: Container[str] | None = None) -> Iterator[tuple[str, Path, Source]]:
        needed = None if wanted is None else set(self.files(wanted))
        for name, file in _files(self.path):
            if needed is None or file in needed:
                yield from ((inner, file, source) for inner, source in self._members(name, source_of(file)))

    def _members(self, name: str, source: Source) -> Iterator[tuple[str, Source]]:
        if not name.lower().endswith(_ARCHIVES):
            yield name, source
        elif not self._skip(name):
            for member in open_archive(source):
                yield from self._members(f"{name}/{member.name}", member)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """All files below a folder in alphabetical order, hidden ones and macOS's left out; or the one file."""
    if path.is_file():
        yield path.name, path
        return
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(path, followlinks=True, onerror=_refuse):
        if (real := os.path.realpath(folder)) in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(files):
            if not name.startswith("."):
                file = Path(folder, name)
                yield file.relative_to(path).as_posix(), file


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read ({error.strerror}); check its permissions") from error


def provenance(files: list[Path], advance: Callable[[int], None]) -> dict[str, Any]:
    """Which files a dataset came from: name, size and SHA-256 of each; of many, a summary.

    Args:
        files: on disk.
        advance: told the number of bytes hashed since the last time.
    """
    sizes = {file: file.stat().st_size for file in files}
    if len(files) <= _LISTED_SINGLY:
        return {
            "files": [
                {"name": file.name, "bytes": size, "sha256": _sha256(file, advance)} for file, size in sizes.items()
            ]
        }
    listing = "\n".join(f"{size} {file.name}" for file, size in sizes.items())
    return {
        "number_of_files": len(files),
        "bytes": sum(sizes.values()),
        "sha256_of_sizes_and_names": hashlib.sha256(listing.encode()).hexdigest(),
    }


def _sha256(file: Path, advance: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()
