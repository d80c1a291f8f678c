"""Archives read member by member, never extracted."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from data_prep.formats.inflating import INFLATERS, checked, explained, inflated, refuse_bomb
from data_prep.formats.names import hides, is_clutter, path_parts, readable
from data_prep.formats.sources import Source, peek_kind, reading, source_of, truncated
from fewshot.errors import InputError

_DRAIN = 1 << 20
_ENCRYPTED, _IS_UTF8 = 1, 0x800
_DANGEROUS = "named so as to lead outside or hide"
_UNPACK = "unpack it with a program that you trust, and give the folder"


def open_archive(path: Path | Source, clutter: Callable[[str], object] = lambda name: None) -> Iterator[Source]:
    """The regular files of a zip, tar, tar.gz, tar.bz2 or tar.xz, in the archive's order, as `Source`s.

    Folders are skipped, and so are hidden files and those of systems, as in a folder. Names have `/` between their
    parts, whatever the archive was made on. Nothing is written to disk. Read or open a member before asking for the
    next one; a member that is an archive itself can be given to `open_archive` again.

    Args:
        path: the archive.
        clutter: told the path of each hidden file or folder.

    Raises:
        InputError: where the archive is truncated, damaged or something else (an HTML page, say), grows out of all
            proportion, or where a member is a link or device, has a name that leads outside, or a name twice.
    """
    source = source_of(path)
    with explained(source.label), reading(source, "zip", "tar", *INFLATERS) as stream:
        kind = peek_kind(stream)
        names: set[str] = set()
        for member in _zip_members(stream, source) if kind == "zip" else _tar_members(stream, kind, source):
            parts = path_parts(member.name)
            if parts is None:
                raise _refused(member.name, _DANGEROUS, member.archive)
            hidden = next((place for place, part in enumerate(parts, start=1) if is_clutter(part)), None)
            if hidden is not None:
                clutter(readable("/".join(parts[:hidden])))
                continue
            name = readable("/".join(parts))
            if hides(name):
                raise _refused(name, _DANGEROUS, member.archive)
            if name in names:
                raise InputError(f"{name} in {member.archive} is there twice; {_UNPACK}")
            names.add(name)
            yield replace(member, name=name)


def _zip_members(stream: IO[bytes], source: Source) -> Iterator[Source]:
    if not stream.seekable():
        raise InputError(
            f"{source.label}: a zip inside an archive cannot be read; unpack the outer archive, and give the folder"
        )
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        refuse_bomb(source.label, sum(entry.file_size for entry in entries), source.size)
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if entry.is_dir():
                continue
            if kind not in (0, stat.S_IFREG) or entry.flag_bits & _ENCRYPTED:
                raise _refused(entry.filename, "encrypted or no regular file", source.label)
            opener = _zip_opener(archive, entry, source.label)
            yield Source(_zip_name(entry), entry.file_size, opener, source.label)


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """The name of a member; macOS writes UTF-8 without saying so, which `zipfile` takes for code page 437."""
    if entry.flag_bits & _IS_UTF8 or entry.filename.isascii():
        return entry.filename
    try:
        return entry.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


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


def _refused(name: str, why: str, archive: str) -> InputError:
    return InputError(f"{name!r} in {archive} is {why}; nothing is read from it: {_UNPACK}")
