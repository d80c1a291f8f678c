"""What lies at a path: the files of a folder, and the members of the archives among them, as one flat listing."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

from data_prep.fetching.left_out import LeftOut
from data_prep.formats.archives import open_archive
from data_prep.formats.names import hides, is_clutter, path_parts, readable
from data_prep.formats.sources import Source, source_of
from fewshot.errors import InputError

_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_CLUTTER = "hidden, or a system's own"
_LISTED_SINGLY = 64
_CHUNK = 1 << 22


class Found:
    """A listing of everything below a path.

    Links are followed, and what they lead to keeps the link's own name; one that leads back to a folder around it ends
    there. Hidden files and those of systems are left out, in folders as in archives.

    Attributes:
        path: the file or folder.
        names: for each file or archive member its file on disk; `ARCHIVE/MEMBER` for members, relative to the folder.
            Bytes of names that are no UTF-8 stand there as `\\xHH`.
        real: of names that are reached through a link, where they really lie.
        left_out: what was not listed.

    Raises:
        InputError: where an archive is damaged or dangerous, or a file cannot be read.
    """

    def __init__(self, path: Path, skip: Callable[[str], bool] = lambda name: False) -> None:
        """List `path`; archives whose name `skip` accepts are not looked into."""
        self.path = path
        self.names: dict[str, str] = {}
        self.real: dict[str, str] = {}
        self.left_out = LeftOut()
        self._skip = skip
        self._archives: dict[str, str] = {}
        for name, file in self._files():
            if not is_archive(name):
                self._add(name, file)
            elif not skip(name):
                self._archives[file] = name
                for member, _ in self._members(name, source_of(Path(file)), self._leave_out):
                    self._add(member, file)

    def sources(self, wanted: Container[str]) -> Iterator[tuple[str, Source]]:
        """The wanted files, in the order in which they lie there; read each before asking for the next."""
        opened: set[str] = set()
        for name, file in self.names.items():
            if name not in wanted or file in opened:
                continue
            if file in self._archives:
                opened.add(file)
                members = self._members(self._archives[file], source_of(Path(file)))
                yield from ((member, source) for member, source in members if member in wanted)
            else:
                yield name, source_of(Path(file))

    def files(self, wanted: Container[str]) -> list[Path]:
        """The files on disk that hold the wanted names, in order."""
        return [Path(file) for file in dict.fromkeys(file for name, file in self.names.items() if name in wanted)]

    def where(self, name: str) -> str:
        """Where a file really lies, through links to it; a member of an archive by its name alone."""
        file = self.names[name]
        if name in self.real or file in self._archives:
            return self.real.get(name, name)
        return os.path.realpath(self.path) + file[len(str(self.path)) :]

    def archives(self) -> list[str]:
        """The names of the archives that were looked into."""
        return list(self._archives.values())

    def _add(self, name: str, file: str) -> None:
        if name in self.names:
            raise InputError(f"{self.path} has two files called {name}; rename one of them")
        self.names[name] = file

    def _members(
        self, name: str, source: Source, clutter: Callable[[str], None] = lambda name: None
    ) -> Iterator[tuple[str, Source]]:
        for member in open_archive(source, lambda hidden: clutter(f"{name}/{hidden}")):
            inner = f"{name}/{member.name}"
            if not is_archive(inner):
                yield inner, member
            elif not self._skip(inner):
                yield from self._members(inner, member, clutter)

    def _leave_out(self, name: str) -> None:
        self.left_out.add(name, _CLUTTER)

    def _files(self) -> Iterator[tuple[str, str]]:
        """All files in alphabetical order, those of a folder before those of its subfolders; or the one file."""
        if self.path.is_file():
            yield readable(self.path.name), str(self.path)
        else:
            yield from self._folder(str(self.path), "", frozenset(), "")

    def _folder(self, folder: str, prefix: str, around: frozenset[tuple[int, int]], real: str) -> Iterator:
        """The files below a folder.

        Args:
            folder: on disk.
            prefix: of the names of its files.
            around: device and inode of the folders around it.
            real: where it really lies, if a link leads to it.
        """
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
            identity = (status := os.stat(folder)).st_dev, status.st_ino
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read ({error.strerror}); check its permissions") from error
        if identity in around:
            self.left_out.add(prefix.rstrip("/"), "a link that leads back to a folder around it")
            return
        subfolders = []
        for entry in entries:
            if is_clutter(entry.name):
                self._leave_out(prefix + readable(entry.name))
            elif entry.is_dir():
                subfolders.append(entry)
            elif not entry.is_file():
                self.left_out.add(prefix + readable(entry.name), "a link that leads nowhere, or no regular file")
            else:
                name = prefix + self._checked(entry.name, folder, is_file=True)
                if real or entry.is_symlink():
                    self.real[name] = os.path.realpath(entry.path)
                yield name, entry.path
        for entry in subfolders:
            where = os.path.realpath(entry.path) if entry.is_symlink() else real and f"{real}/{entry.name}"
            name = prefix + self._checked(entry.name, folder)
            yield from self._folder(entry.path, f"{name}/", around | {identity}, where)

    @staticmethod
    def _checked(part: str, folder: str, is_file: bool = False) -> str:
        """The name of a file or folder, as it would be read from an archive."""
        name = readable(part)
        if is_file and "\\" in name:
            name = "/".join(path_parts(name) or [""])
        if not name or hides(name):
            raise InputError(f"{name or part!r} in {folder} is named so as to lead outside or hide; rename it")
        return name


def is_archive(name: str) -> bool:
    """Whether a file of this name is looked into."""
    return name.lower().endswith(_ARCHIVES)


def archive_stem(part: str) -> str:
    """The name of an archive without its ending; other names as they are."""
    ending = next((ending for ending in _ARCHIVES if part.lower().endswith(ending)), "")
    return part[: len(part) - len(ending)]


def provenance(files: list[Path], report: Callable[[int, int], None]) -> dict[str, Any]:
    """Which files a dataset came from: name, size and SHA-256 of each; of many, a summary.

    Args:
        files: on disk.
        report: told how many bytes there are to hash, and how many are done.
    """
    sizes = [os.stat(file).st_size for file in files]
    if len(files) <= _LISTED_SINGLY:
        total, done = sum(sizes), itertools.accumulate(sizes, initial=0)
        hashes = [
            _sha256(file, before, lambda done: report(total, done)) for file, before in zip(files, done, strict=False)
        ]
        return {
            "files": [
                {"name": readable(file.name), "bytes": size, "sha256": digest}
                for file, size, digest in zip(files, sizes, hashes, strict=True)
            ]
        }
    listing = "\n".join(f"{size} {readable(file.name)}" for file, size in zip(files, sizes, strict=True))
    return {
        "number_of_files": len(files),
        "bytes": sum(sizes),
        "sha256_of_sizes_and_names": hashlib.sha256(listing.encode()).hexdigest(),
    }


def _sha256(file: Path, done: int, report: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(done)
    return digest.hexdigest()
