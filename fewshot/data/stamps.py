"""Files that have passed a check, which they need not pass again until they change.

What a file was when it passed is an extended attribute of the file; where the file system has none, a hidden file
beside it, `.NAME.checked`; where that cannot be written, it lies in the user's cache; and where nothing can be written,
the check is made every time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fewshot.errors import InputError
from fewshot.files import write_text

_ATTRIBUTE = "user.fewshot.checked"


def check_once(path: Path, digest: str, check: Callable[[], None]) -> None:
    """Run `check` unless it has passed before on the file as it is now.

    Size, time of change and inode tell whether the file is the one that passed: a file is read again when it was
    written to, replaced or copied, and not at every start.

    Args:
        path: the file.
        digest: what it should have, so that another check is another stamp.
        check: raises where the file does not pass.
    """
    state = _state(path, digest)  # taken first: a file that changes during the check does not pass for the new one
    if state not in _stamps(path):
        check()
        _write(path, state)


def _state(path: Path, digest: str) -> str:
    status = os.stat(path)  # without the time of change of status, which the stamp itself changes
    return json.dumps([status.st_size, status.st_mtime_ns, status.st_ino, digest])


def _stamps(path: Path) -> Iterator[str]:
    with contextlib.suppress(OSError, AttributeError, UnicodeDecodeError):
        yield os.getxattr(path, _ATTRIBUTE).decode()
    for stamp in _files(path):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            yield stamp.read_text(encoding="utf-8")


def _write(path: Path, state: str) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not every system has attributes
        os.setxattr(path, _ATTRIBUTE, state.encode())
        return
    for stamp in _files(path):
        with contextlib.suppress(OSError, InputError):
            write_text(stamp, state)
            return


def _files(path: Path) -> tuple[Path, Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fewshot-smooth-bench" / "checked"
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    return path.with_name(f".{path.name}.checked"), cache / name
