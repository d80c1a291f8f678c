"""What is not used of what lies at a path, so that nothing is dropped in silence."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from data_prep.formats.sources import printable

_SHOWN = 3
_NAMED = 20


class LeftOut:
    """Names of files that are not used, counted by extension and reason; the first of each are kept.

    Args:
        earlier: what was left out before, which is counted too.
    """

    def __init__(self, earlier: LeftOut | None = None) -> None:
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._first: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        if earlier is not None:
            self._counts.update(earlier._counts)
            self._first.update({key: list(names) for key, names in earlier._first.items()})

    def __len__(self) -> int:
        return sum(self._counts.values())

    def add(self, name: str, reason: str) -> None:
        """Count a file."""
        key = extension(name), reason
        self._counts[key] += 1
        if self._counts[key] <= _NAMED:
            self._first[key].append(name)

    def take_back(self, name: str) -> None:
        """A file is used after all."""
        for key, names in self._first.items():
            if key[0] == extension(name) and name in names:
                names.remove(name)
                self._counts[key] -= 1
        self._counts = defaultdict(int, {key: count for key, count in self._counts.items() if count})

    def lines(self) -> list[str]:
        """One line for each reason and extension, for people."""
        return [
            f"{count} {kind} {'file' if count == 1 else 'files'}: {reason}"
            f" ({', '.join(printable(name) for name in self._first[kind, reason][:_SHOWN])}"
            f"{', …' if count > _SHOWN else ''})"
            for (kind, reason), count in sorted(self._counts.items(), key=lambda item: (item[0][1], item[0][0]))
        ]

    def as_json(self) -> list[dict[str, Any]]:
        """The same for a file's provenance, with up to 20 names each."""
        return [
            {"extension": kind, "reason": reason, "files": count, "first": self._first[kind, reason]}
            for (kind, reason), count in sorted(self._counts.items())
        ]


def extension(name: str) -> str:
    """`.png` of a name in lower case, or "extensionless"."""
    stem, dot, end = name.rpartition("/")[2].rpartition(".")
    return f".{end.lower()}" if dot and stem else "extensionless"
