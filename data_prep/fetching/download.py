"""Files from mirrors: complete and of the right hash, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gdown
import pooch

from data_prep.fetching.resumable import MirrorError, Patience, download, refuse_error_page, version_file
from data_prep.formats.sources import printable
from fewshot.console import progress
from fewshot.errors import InputError
from fewshot.files import lock, unwritable

_MIB = 1 << 20
_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT)


@dataclass(frozen=True)
class Mirror:
    """One place to get a file from: an http(s) address, or a Google Drive id."""

    url: str = ""
    drive_id: str = ""

    @property
    def address(self) -> str:
        """What a person opens in a browser."""
        return self.url or f"https://drive.google.com/file/d/{self.drive_id}/view"


def fetch(
    mirrors: Sequence[Mirror],
    folder: Path,
    known_hash: str | None,
    file_name: str,
    *,
    quiet: bool = False,
    patience: Patience | None = None,
) -> Path:
    """The file `folder / file_name`, downloaded from the first mirror that has it unless it is there already.

    A broken transfer continues where it stopped, within one call and over calls; until it is complete the
    folder holds `.NAME.part`. With a known hash any mirror continues what another began.

    Args:
        mirrors: tried in this order.
        folder: made where it is not there.
        known_hash: `ALGORITHM:HEX` (`md5:…`, `sha256:…`); None accepts whatever is no error page.
        file_name: what the file is called, whatever a mirror calls it.
        quiet: show no progress bar.
        patience: how long to put up with each mirror.

    Raises:
        InputError: telling what each mirror answered and how to get the file by hand; or where the folder cannot be
            written, has no room, or another process is downloading the same file.
    """
    target = Path(folder) / file_name
    if target.is_file() and has_hash(target, known_hash):
        return target
    failures = []
    for mirror in mirrors:
        try:
            _fetch_from(mirror, target, known_hash, patience or Patience(), quiet)
            return target
        except MirrorError as error:
            failures.append(f"{mirror.address} ({error})")
    raise InputError(_by_hand(target, known_hash, mirrors, failures))


def has_hash(path: Path, known_hash: str | None) -> bool:
    """Whether a file has the hash `ALGORITHM:HEX`; every file has the hash None."""
    if known_hash is None:
        return True
    algorithm, _, digest = known_hash.partition(":")
    return pooch.file_hash(str(path), alg=algorithm) == digest.lower()


def _fetch_from(mirror: Mirror, target: Path, known_hash: str | None, patience: Patience, quiet: bool) -> None:
    with _part_of(target) as part:
        continued = part.stat().st_size > 0
        for _ in range(2 if continued else 1):  # what was there may be at fault, not the mirror
            if mirror.url:
                _download(mirror.url, part, known_hash, patience, quiet)
            else:
                _download_from_drive(mirror.drive_id, part, quiet)
            if has_hash(part, known_hash):
                os.replace(part, target)
                version_file(part).unlink(missing_ok=True)
                return
            os.truncate(part, 0)
        raise MirrorError(f"sent a file that does not have the hash {known_hash}")


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """The file that collects `target`'s content, from whichever mirror, held for this process alone."""
    part = target.parent / f".{target.name}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab") as handle:
            if not lock(handle.fileno()):
                raise InputError(f"another process is downloading {target}; wait for it")
            try:
                yield part
            finally:
                if part.exists() and part.stat().st_size == 0:
                    part.unlink()
                    version_file(part).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error


def _download(url: str, part: Path, known_hash: str | None, patience: Patience, quiet: bool) -> None:
    with progress(quiet) as bars:
        bar = bars.add_task(f"{part.name[1:-5]} (MiB)", total=None, note="")

        def report(so_far: int, total: int | None) -> None:
            bars.update(bar, completed=so_far // _MIB, total=None if total is None else -(-total // _MIB))

        download(url, part, patience, report, any_mirror=known_hash is not None)


def _download_from_drive(drive_id: str, part: Path, quiet: bool) -> None:
    whole = part.with_suffix(".drive")
    try:
        gdown.download(id=drive_id, output=str(whole), quiet=quiet, resume=True, use_cookies=False)
    except Exception as error:  # gdown's errors have no base class in common, and differ between its versions
        if isinstance(error, OSError) and error.errno in _LOCAL:
            raise
        raise MirrorError(f"Google Drive: {printable(error)}") from error
    os.replace(whole, part)
    with open(part, "rb") as file:
        head = file.read(512)
    try:
        refuse_error_page(head, part)
    except MirrorError:
        os.truncate(part, 0)
        raise


def _by_hand(target: Path, known_hash: str | None, mirrors: Sequence[Mirror], failures: Sequence[str]) -> str:
    tried = "; ".join(failures) or "no address is known"
    places = " or ".join(mirror.address for mirror in mirrors) or "wherever it is offered"
    check = f", check that its hash is {known_hash}" if known_hash else ""
    return (
        f"{target.name} could not be downloaded: {tried}. By hand: get it from {places}{check}, "
        f"save it as {target}, and give the same command again"
    )
