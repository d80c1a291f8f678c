"""What tells things of one name apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.reporting.rows import Row


def apart(rows: Sequence[Row], name: Callable[[Row], Hashable]) -> list[str]:
    """For rows of equal names, the options in which they differ."""
    options = [flat(row.config) | row.hashes for row in rows]
    names = [name(row) for row in rows]
    alike: dict[Hashable, list[dict[str, Any]]] = {}
    for key, mine in zip(names, options, strict=True):
        alike.setdefault(key, []).append(mine)
    differing = {key: _differing(others) for key, others in alike.items()}
    return [
        ", ".join([f"{option}={mine[option]}" for option in differing[key] if option in mine])
        for key, mine in zip(names, options, strict=True)
    ]


def tests_apart(rows: Sequence[Row]) -> list[str]:
    """What each row was tested on, in words that are the same for the same test and for no other."""
    tests: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        tests.setdefault(row.on, set()).add(row.tested_on)
    return [f"{row.on} [test {_mark(row)}]" if len(tests[row.on]) > 1 else row.on for row in rows]


def _mark(row: Row) -> str:
    return hashlib.sha256("".join(row.tested_on).encode()).hexdigest()[:6]


def _differing(options: Sequence[dict[str, Any]]) -> list[str]:
    names = sorted({name for mine in options for name in mine})
    missing = object()
    return [name for name in names if any(mine.get(name, missing) != options[0].get(name, missing) for mine in options)]


def flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options of options by dotted names."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found
