"""HTTP transfers that continue where they broke off."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from data_prep.formats.sources import DOWNLOAD_FAILURES, KINDS, identify_bytes, printable
from fewshot.errors import InputError

Report = Callable[[int, int | None], None]
"""Called with (bytes so far, bytes in all, or None where the server does not say)."""

_CHUNK = 1 << 14  # what a break loses at most
_FRUITFUL = 1 << 20
_LONGEST_WAIT = 60.0
_BUSY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How long to put up with a server.

    Attributes:
        attempts: how often in a row a connection may bring less than 1 MiB before the next mirror is tried.
        pause: seconds before the second attempt; doubled each time, or what the server asks for, at most 60.
        timeout: seconds without a byte after which a connection counts as broken.
    """

    attempts: int = 5
    pause: float = 1.0
    timeout: float = 30.0


class MirrorError(Exception):
    """This mirror does not have the file; another may."""


class _BrokenError(Exception):
    """The connection broke, or the server is busy; it may answer after `wait` seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def download(url: str, part: Path, patience: Patience, report: Report, any_mirror: bool) -> None:
    """Bring `part` to the full content of `url`, continuing from what it holds.

    Args:
        url: an http(s) address.
        part: an existing file, perhaps empty; keeps what has arrived where this raises.
        patience: how long to put up with the server.
        report: told of every piece that arrives.
        any_mirror: continue what another mirror sent, because the caller compares the hash afterwards. Otherwise
            only the version of the file that this server began to send is continued.

    Raises:
        MirrorError: where the server has no such file, sends an error page, or breaks off again and again.
        InputError: where the disk has no room for the file.
        OSError: where `part` cannot be written.
    """
    fruitless = 0
    while True:
        before = part.stat().st_size
        try:
            return _attempt(url, part, patience.timeout, report, any_mirror)
        except _BrokenError as error:
            fruitless = 0 if part.stat().st_size - before >= _FRUITFUL else fruitless + 1
            if fruitless >= patience.attempts:
                raise MirrorError(f"{error}, {fruitless} times in a row") from error
            time.sleep(min(max(patience.pause * 2 ** max(fruitless - 1, 0), error.wait), _LONGEST_WAIT))


def refuse_error_page(head: bytes, part: Path) -> None:
    """Raise `MirrorError` where a file's first bytes are an error page's, unless such a file is wanted."""
    kind = identify_bytes(head)
    if kind in DOWNLOAD_FAILURES and f".{kind}." not in part.name:
        raise MirrorError(f"sent {KINDS[kind]} instead of the file")


def _attempt(url: str, part: Path, timeout: float, report: Report, any_mirror: bool) -> None:
    try:
        with requests.get(url, headers=_headers(url, part, any_mirror), stream=True, timeout=timeout) as response:
            if not _is_complete(response, part):
                _check_status(response)
                _receive(response, url, part, report)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _BrokenError("the connection broke off or took too long") from error
    except requests.RequestException as error:
        raise MirrorError(f"{type(error).__name__}: {printable(error)}") from error


def _headers(url: str, part: Path, any_mirror: bool) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    start, version = part.stat().st_size, _version(url, part)
    if start and (any_mirror or version):
        headers["Range"] = f"bytes={start}-"
    if start and version and not any_mirror:
        headers["If-Range"] = version
    return headers


def _is_complete(response: requests.Response, part: Path) -> bool:
    """A range that begins at the file's very end is answered with 416 and the file's size."""
    if response.status_code != 416:
        return False
    if response.headers.get("Content-Range") == f"bytes */{part.stat().st_size}":
        return True
    os.truncate(part, 0)
    raise _BrokenError("what was there is no beginning of the file")


def _check_status(response: requests.Response) -> None:
    code = response.status_code
    if code in _BUSY:
        wait = response.headers.get("Retry-After", "")
        raise _BrokenError(f"HTTP {code} {response.reason}", float(wait) if wait.isdigit() else 0.0)
    if code not in (200, 206):
        raise MirrorError(f"HTTP {code} {response.reason}")


def _receive(response: requests.Response, url: str, part: Path, report: Report) -> None:
    start = _start(response, part)
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    _check_room(part, start, total)
    chunks = response.iter_content(_CHUNK)
    first = next(chunks, b"")
    if start == 0:
        refuse_error_page(first, part)
        _remember_version(response, url, part)
    with open(part, "r+b") as file:
        file.truncate(start)
        file.seek(start)
        file.write(first)
        report(file.tell(), total)
        for chunk in chunks:
            file.write(chunk)
            report(file.tell(), total)
    if total is not None and part.stat().st_size != total:
        raise _BrokenError(f"{part.stat().st_size} of {total} bytes sent")


def _start(response: requests.Response, part: Path) -> int:
    """Where in the file the answer begins."""
    if response.status_code == 200:
        return 0
    start = part.stat().st_size
    if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise MirrorError("sent another part of the file than asked for")
    return start


def _check_room(part: Path, start: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free + part.stat().st_size - start
    if total is not None and total - start > free:
        raise InputError(
            f"{part.parent} has {free} bytes free of {total - start} needed; make room or choose another folder"
        )


def _remember_version(response: requests.Response, url: str, part: Path) -> None:
    etag = response.headers.get("ETag", "")
    version = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
    version_file(part).write_text(f"{url}\n{version}", encoding="utf-8")


def _version(url: str, part: Path) -> str:
    """The version of `url` that `part` is the beginning of; empty where that is unknown."""
    with contextlib.suppress(FileNotFoundError):
        beginning, _, version = version_file(part).read_text(encoding="utf-8").partition("\n")
        return version if beginning == url else ""
    return ""


def version_file(part: Path) -> Path:
    """Where the address and version of what `part` holds are kept."""
    return part.with_name(part.name + ".version")
