"""Files that are either complete under their final name or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fewshot.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed over `path`.

    On any exception the temporary file is removed and an existing `path` is left as it was. A process killed in
    between leaves only a `.NAME.*.partial` file, which the next call for the same `path` removes; one that a living
    process still writes is left alone. Of two writers at once, the one that ends last wins.

    Raises:
        InputError: where the folder cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        handle, temporary = _temporary_beside(path)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield temporary
        _move(temporary, path)
    except (OSError, RuntimeError) as error:
        if out_of_room(error):
            raise unwritable(path, error) from error
        raise
    finally:
        if handle is not None:
            os.close(handle)
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def only_one(folder: Path, activity: str, wait: bool = False) -> Iterator[None]:
    """Hold `folder` for this process alone; the lock goes with the process, however it ends.

    Args:
        folder: made where it does not exist.
        activity: what a process that holds it is doing, in words.
        wait: where another process holds it, say so and wait for it, instead of raising.

    Raises:
        InputError: where another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        if not lock(handle):
            if not wait:
                raise InputError(f"another process is {activity} in {folder}; wait for it or choose another folder")
            print(f"another process is {activity} in {folder}: waiting for it", file=sys.stderr, flush=True)
            lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def lock(handle: int, wait: bool = False) -> bool:
    """Hold an open file until it is closed; it goes with the process, however it ends.

    Args:
        handle: of the file.
        wait: until another process lets go.

    Returns:
        False where another process holds it. Where the system has no such locks (Windows), nothing is held, and True.
    """
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def unwritable(path: Path, error: OSError | RuntimeError) -> InputError:
    """The error to raise where `path` cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return InputError(f"cannot write {path}: {reason}; free space there or choose another folder")


def reserve(path: Path, size: int) -> None:
    """Claim `size` more bytes of disk for a file before they are written, where the system can.

    For writers that neither report nor survive a full disk cleanly, such as HDF5, which gives back what it did not use
    when it closes a file that it opened for changes.

    Raises:
        InputError: where there is no room.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
        except OSError as error:
            if out_of_room(error):
                reason = f"{error.strerror}, {size / 1e6:,.0f} MB are needed"
                raise unwritable(path.parent, OSError(error.errno, reason)) from error


def out_of_room(error: OSError | RuntimeError) -> bool:
    """Whether `error` says that a disk is full or a quota used up."""
    if isinstance(error, OSError) and error.errno in _OUT_OF_ROOM:
        return True
    return any(f"errno = {number}," in str(error) for number in _OUT_OF_ROOM)  # how HDF5 says it


def _temporary_beside(path: Path) -> tuple[int | None, Path]:
    """A new file in the folder of `path`, locked as long as the returned handle stays open; None: it is not locked."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path)
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        if fcntl is None:  # Windows moves no file that is open
            os.close(handle)
            return None, Path(name)
        lock(handle, wait=True)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # another writer took it for an orphan before it was locked


def _move(temporary: Path, path: Path) -> None:
    with open(temporary, "r+b") as written:
        os.fsync(written.fileno())
    temporary.chmod(0o666 & ~_umask())
    try:
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    _flush_folder(path.parent)


def _remove_orphans(path: Path) -> None:
    for orphan in path.parent.glob(f".{path.name}.*.partial") if fcntl is not None else ():
        with contextlib.suppress(OSError), open(orphan, "rb") as handle:
            if lock(handle.fileno()):
                orphan.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # which opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
