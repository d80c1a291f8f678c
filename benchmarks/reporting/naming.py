"""What tells things of one name apart, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

_WORDS = {
    "episodes": "{:,} episodes",
    "initializations": "{:,} initializations",
    "penalty.radius": "ε = {:g}",
    "penalty.weight": "λ = {:g}",
    "steps": "{:,} steps",
    "test.episodes": "{:,} episodes",
    "test.initializations": "{:,} initializations",
    "test.seed": "test seed {}",
    "test.steps": "{:,} steps",
    "training.episodes": "{:,} training episodes",
    "training.unrolls": "{:,} unrolls",
}
"""Options that read better than by their names."""


def apart(
    names: Sequence[Hashable], options: Sequence[Mapping[str, Any]], hashes: Sequence[Mapping[str, str]]
) -> list[str]:
    """For things of equal names, the options in which they differ.

    Args:
        names: of the things.
        options: of each, by dotted names.
        hashes: of each, by what they are of; named only where options alone tell too little.
    """
    alike: dict[Hashable, list[int]] = {}
    for place, name in enumerate(names):
        alike.setdefault(name, []).append(place)
    words = [""] * len(names)
    for places in alike.values():
        for place, text in zip(places, _words([options[p] for p in places]), strict=True):
            words[place] = text
        same: dict[str, list[int]] = {}
        for place in places:
            same.setdefault(words[place], []).append(place)
        for members in same.values():
            differing = _differing([hashes[p] for p in members])
            for place in members:
                marks = [f"{name} {hashes[place][name][:8]}" for name in differing if name in hashes[place]]
                words[place] = ", ".join(filter(None, [words[place], *marks]))
    return words


def _words(options: Sequence[Mapping[str, Any]]) -> list[str]:
    differing = _differing(options)
    last = Counter(name.rpartition(".")[2] for name in differing)
    unique = {name: name.rpartition(".")[2] if last[name.rpartition(".")[2]] == 1 else name for name in differing}
    return [
        ", ".join(_in_words(name, unique[name], mine[name]) for name in differing if name in mine) for mine in options
    ]


def _in_words(option: str, short: str, value: Any) -> str:
    name = short.replace(".", " ").replace("_", " ")
    if value is None:
        return f"no {name}"
    if isinstance(value, bool):
        return f"{name} {'on' if value else 'off'}"
    if option in _WORDS and isinstance(value, int | float):
        return _WORDS[option].format(value)
    return f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _differing(options: Sequence[Mapping[str, Any]]) -> list[str]:
    names = sorted({name for mine in options for name in mine})
    missing = object()
    return [name for name in names if any(mine.get(name, missing) != options[0].get(name, missing) for mine in options)]


def label(method: str, regularizer: str, source: str = "", settings: str = "") -> str:
    """How a row is called where it stands among others on the same test."""
    name = method if regularizer == "none" else f"{method} + {regularizer}"
    notes = ", ".join(filter(None, [f"from {source}" if source else "", settings]))
    return f"{name} ({notes})" if notes else name


def flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options of options by dotted names."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found
