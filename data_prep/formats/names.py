"""One policy for names of files, whether they lie in a folder or in an archive."""

from __future__ import annotations

import re
import unicodedata

_CLUTTER = frozenset(
    [
        *("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    ]
)
_HIDING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # turn the direction of what follows
_UNSHOWN = frozenset(["Cc", "Cs", "Zl", "Zp"])


def is_clutter(part: str) -> bool:
    """Whether a file or folder of this name is hidden or a system's own (`.git`, `__MACOSX`, `Thumbs.db`)."""
    return part.startswith(".") or part.casefold() in _CLUTTER


def readable(part: str) -> str:
    """A name as text: bytes that are no UTF-8, which Python holds as lone surrogates, become `\\xHH`."""
    if part.isascii():
        return part
    try:
        part.encode()
    except UnicodeEncodeError:
        return part.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return part


def hides(name: str) -> bool:
    """Whether a name would not show as what it is: control characters, or ones that turn the direction of writing.

    Joiners, marks and letters of every script are fine, and so is what Unicode has not yet assigned.
    """
    if name.isprintable():
        return False
    return any(letter in _HIDING or unicodedata.category(letter) in _UNSHOWN for letter in name)


def path_parts(name: str) -> list[str] | None:
    """The folders and the file that a name in an archive, or a file's name in a folder, means.

    Backslashes separate in the last part only, as Windows writes them: a folder may have them in its name.

    Returns:
        None where the name leads outside of its archive, or means no file.
    """
    *folders, last = name.split("/")
    parts = [*folders, *last.split("\\")]
    pieces = name.replace("\\", "/").split("/")
    if not pieces[0] or ".." in pieces or (len(pieces) > 1 and len(pieces[0]) == 2 and pieces[0].endswith(":")):
        return None
    return [part for part in parts if part not in ("", ".")] or None


def numeric(text: str) -> list[tuple[int, str]]:
    """A sorting key that puts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def words(*lines: str) -> frozenset[str]:
    """All words of some lines."""
    return frozenset(word for line in lines for word in line.split())
