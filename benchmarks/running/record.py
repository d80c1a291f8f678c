"""The record of one run: a JSON file with everything a table needs, so that no log is ever parsed."""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fewshot.errors import InputError
from fewshot.files import write_text

RECORD_VERSION = 1
RECORD_NAME = "record.json"
DEFAULT_RESULTS = Path("results/runs")
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""By version: makes of a record of that version one of the next, without changing its argument."""
_UNHASHED = ("digest", "text_sha256", "measured")
"""What the digest leaves out."""
_TEXT_SHA256, _MEASURED = b'\n "text_sha256": "', b'",\n "measured": '
_PACKAGES = ("fewshot-smooth-bench", "torch", "torchvision", "numpy", "scipy", "h5py", "learn2learn")


def write_record(path: Path, record: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Complete a record and write it.

    Args:
        path: where; replaced only once the new file is complete.
        record: what the same command always yields: configuration, provenance, results.
        measured: what it does not: times, memory, dates. Kept apart under "measured" and outside the digest.

    Returns:
        What was written.
    """
    complete = complete_record(record, measured)
    write_text(path, record_text(complete))
    return complete


def complete_record(record: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """A record with its version, digest and "text_sha256", as `write_record` writes it.

    The latter is of the text that stands before it in the file: as long as that fits, so does the digest, and no reader
    needs to work it out.
    """
    complete = {"record_version": RECORD_VERSION, **record}
    complete |= {"digest": digest(complete)}
    head = record_text(complete).removesuffix("\n}\n") + ","
    return complete | {"text_sha256": hashlib.sha256(head.encode()).hexdigest(), "measured": measured}


def record_text(complete: dict[str, Any]) -> str:
    """The text of a complete record's file."""
    return json.dumps(complete, indent=1, allow_nan=False) + "\n"


def read_record(path: Path, without: Sequence[str] = ()) -> dict[str, Any]:
    """Read one record, check its digest, and bring it to the current version.

    Args:
        path: of the file.
        without: members that are left out, "test.last" for one within another; most are not even parsed.

    Raises:
        InputError: where it is no record, of a version without a way to this one, or was changed after it was written.
    """
    try:
        text = path.read_bytes()
        as_written = _as_written(text)
        record = json.loads((_cut(text, without) if as_written else text).decode())
        found, written = record["record_version"], record["digest"]
        computed = written if as_written else digest(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is not a readable record ({error!r:.100}); delete it or run again with --fresh"
        ) from error
    if not _readable(found):
        raise InputError(
            f"{path} has record version {found}, this program reads {', '.join(map(str, _versions()))}; "
            "run again with --fresh"
        )
    if computed != written:
        raise InputError(f"{path} was changed after it was written (digest); delete it or run again with --fresh")
    record = migrate(record, path)
    for name in without:
        _remove(record, name.split("."))
    return record


def _as_written(text: bytes) -> bool:
    """Whether nothing but what is measured can have changed since `write_record`; False also for other layouts."""
    head, mark, tail = text.rpartition(_TEXT_SHA256)
    sha256, measured = tail[:64], tail[64:]
    if not mark or not measured.startswith(_MEASURED) or hashlib.sha256(head).hexdigest().encode() != sha256:
        return False
    return list(json.loads(b"{" + measured.removeprefix(b'",'))) == ["measured"]  # no second member of any other name


def _cut(text: bytes, names: Sequence[str]) -> bytes:
    """The text of a current record as `write_record` laid it out, with null for members of these names."""
    if not text.startswith(b'{\n "record_version": %d,' % RECORD_VERSION):
        return text  # a migration may need them
    spans = sorted(span for name in names if (span := _span(text, name.split("."))) is not None)
    ends, starts = [0, *(end for _, end in spans)], [*(start for start, _ in spans), len(text)]
    return b"null".join(text[end:start] for end, start in zip(ends, starts, strict=True))


def _span(text: bytes, names: Sequence[str]) -> tuple[int, int] | None:
    """Where the value of a member starts and ends; None where there is none."""
    start, end = 0, len(text) - 1
    for depth, name in enumerate(names, 1):
        member = b'\n%b"' % (b" " * depth)
        key = member + name.encode() + b'": '
        found = text.find(key, start, end)
        if found < 0:
            return None
        start = found + len(key)
        following = text.find(member, start, end)
        end = following - 1 if following >= 0 else text.rfind(b"\n", start, end)
    return start, end


def _remove(record: dict[str, Any], names: Sequence[str]) -> None:
    *parents, last = names
    for name in parents:
        record = record.get(name) or {}
    record.pop(last, None)


def migrate(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """Bring a record of an older version to the current one, a version at a time; its digest stays that of its file.

    Raises:
        InputError: where it is not what its version should be.
    """
    while record["record_version"] < RECORD_VERSION:
        found = record["record_version"]
        try:
            record = {**MIGRATIONS[found](record), "record_version": found + 1, "digest": record["digest"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path} is no record of version {found} ({error!r:.100}); delete it or run again with --fresh"
            ) from error
    return record


def _versions() -> list[int]:
    """Versions from which there is a way to the current one."""
    first = RECORD_VERSION
    while first - 1 in MIGRATIONS:
        first -= 1
    return list(range(first, RECORD_VERSION + 1))


def _readable(found: Any) -> bool:
    return type(found) is int and found in _versions()


def find_records(folders: Sequence[Path]) -> Iterator[Path]:
    """Every record at or below `folders`, sorted."""
    for folder in folders:
        if not folder.exists():
            raise InputError(f"{folder} does not exist; give a folder of runs, such as results/runs")
        yield from sorted([folder] if folder.is_file() else folder.rglob(RECORD_NAME))


def digest(record: dict[str, Any]) -> str:
    """SHA-256 over everything in a record that is the same however often the command is run or interrupted."""
    lasting = {name: value for name, value in record.items() if name not in _UNHASHED}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True, allow_nan=False).encode()).hexdigest()


def config_sha256(options: Mapping[str, Any]) -> str:
    """SHA-256 of options as canonical JSON."""
    return hashlib.sha256(json.dumps(options, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Commit of the checkout this code runs from, "+changes" appended where files differ; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
        return run.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    except (OSError, StopIteration):  # not Linux; there ru_maxrss may include the memory of the parent process
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
