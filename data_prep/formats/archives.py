"""Archives read member by member, never extracted."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from data_prep.formats.inflating import INFLATERS, checked, explained, inflated, refuse_bomb
from data_prep.formats.sources import Source, peek_kind, reading, source_of, truncated
from fewshot.errors import InputError

_DRAIN = 1 << 20
_ENCRYPTED = 1


def open_archive(path: Path | Source) -> Iterator[Source]:
    """The regular files of a zip, tar, tar.gz, tar.bz2 or tar.xz, in the archive's order, as `Source`s.

    Folders are skipped, and so is what macOS adds (`__MACOSX/`, `._NAME`). Nothing is written to disk. Read or open a
    member before asking for the next one; a member that is an archive itself can be given to `open_archive` again.

    Raises:
        InputError: where the archive is truncated, damaged or something else (an HTML page, say), grows out of all
            proportion, or where a member is a link or device, has a name that leads outside, or a name twice.
    """
    source = source_of(path)
    with explained(source.label), reading(source, "zip", "tar", *INFLATERS) as stream:
        kind = peek_kind(stream)
        names: set[str] = set()
        for member in _zip_members(stream, source) if kind == "zip" else _tar_members(stream, kind, source):
            _check_name(member)
            if member.name in names:
                raise InputError(f"{member.label} is there twice; get the original archive")
            names.add(member.name)
            if not _is_clutter(member.name):
                yield member


def _zip_members(stream: IO[bytes], source: Source) -> Iterator[Source]:
    if not stream.seekable():
        raise InputError(f"{source.label}: a zip inside an archive cannot be read; unpack the outer archive first")
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        refuse_bomb(source.label, sum(entry.file_size for entry in entries), source.size)
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                continue
            if kind not in (0, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED:
                raise _refused(entry.filename, "encrypted or no regular file", source.label)
            yield Source(entry.filename, entry.file_size, _zip_opener(archive, entry, source.label), source.label)


def _zip_opener(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, label: str):
    def opened() -> IO[bytes]:
        member = f"{entry.filename} in {label}"
        with explained(member):
            return checked(archive.open(entry), member)

    return opened


def _tar_members(stream: IO[bytes], kind: str, source: Source) -> Iterator[Source]:
    label = source.label
    content = stream if kind == "tar" else inflated(stream, kind, label)
    with tarfile.open(fileobj=content, mode="r|", tarinfo=_StrictHeader) as archive:
        while (entry := archive.next()) is not None:
            archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # else every header stays in memory
            if entry.isdir():
                continue
            if not entry.isreg() or entry.issparse():
                raise _refused(entry.name, "a link, a device or sparse", label)
            if kind == "tar" and entry.size > source.size:
                raise truncated(label, entry.size, source.size)
            refuse_bomb(label, entry.size, source.size)
            yield Source(entry.name, entry.size, _tar_opener(archive, entry, label), label)
    while content.read(_DRAIN):  # reaches the checksum at the end of compressed data
        pass


def _tar_opener(archive: tarfile.TarFile, entry: tarfile.TarInfo, label: str):
    def opened() -> IO[bytes]:
        return checked(archive.extractfile(entry), f"{entry.name} in {label}")

    return opened


class _StrictHeader(tarfile.TarInfo):
    """Headers of an archive that must be whole: `tarfile` takes damage between two members for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # pyright: ignore[reportAttributeAccessIssue]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error) or "no end-of-archive mark") from error


def _check_name(member: Source) -> None:
    name = member.name
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0] or not name.isprintable() or not name:
        raise _refused(name, "named so as to lead outside or hide", member.archive)


def _refused(name: str, why: str, archive: str) -> InputError:
    return InputError(f"{name!r} in {archive} is {why}; nothing is read from it: get the original archive")


def _is_clutter(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith("._")
