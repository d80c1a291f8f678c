"""Grids of options: values and ranges of each, and every combination of them as a setting."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fewshot.errors import InputError

Setting = tuple[tuple[str, str], ...]
"""Options by name, with their values as words of a command line."""
_RANGE = re.compile(r"(?P<low>[^:]+):(?P<high>[^:]+):(?P<scale>log|lin)(?P<count>\d+)")
_FORMS = "give values such as 0.01,0.1,1 or a range such as 0.1:100:log4"


def words_of(setting: Setting) -> tuple[str, ...]:
    """A setting as words of a command line."""
    return tuple(word for name, value in setting for word in (f"--{name}", value))


@dataclass(frozen=True)
class Grid:
    """Options and their values, each from the simplest on: the first setting is the simplest of all."""

    values: Mapping[str, tuple[str, ...]]

    @property
    def settings(self) -> list[Setting]:
        """Every combination, in the order of their values, the last option fastest."""
        names = list(self.values)
        return [tuple(zip(names, chosen, strict=True)) for chosen in itertools.product(*self.values.values())]

    def __len__(self) -> int:
        return math.prod(map(len, self.values.values()))

    def without(self, prefix: str) -> Grid:
        """The same but for options whose names begin so."""
        return Grid({name: values for name, values in self.values.items() if not name.startswith(prefix)})


def read_grid(words: Sequence[str]) -> Grid:
    """A grid as it is written: `penalty.weight=0.1:100:log4 penalty.radius=0.01,0.1,1,10`.

    A range has its two ends and values evenly between them, on a logarithmic (`log`) or linear (`lin`) scale.

    Raises:
        InputError: for what is none, and for options or values that are there twice.
    """
    values: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, mark, given = word.partition("=")
        name = name.removeprefix("--").replace("_", "-")
        if not mark or not name or not given:
            raise InputError(f"{word!r} is no option with values; {_FORMS}, as in penalty.weight=0.1,1")
        if name in values:
            raise InputError(f"{name} is in the grid twice; give all of its values at once")
        found = tuple(value for part in given.split(",") for value in _read(part, word))
        if len(set(found)) < len(found):
            raise InputError(f"{word} has a value twice; give each once")
        values[name] = found
    return Grid(values)


def _read(part: str, word: str) -> list[str]:
    match = _RANGE.fullmatch(part)
    if match is None:
        if not part or ":" in part:
            raise InputError(f"{part!r} in {word} is no value; {_FORMS}")
        return [part]
    try:
        low, high = float(match["low"]), float(match["high"])
    except ValueError:
        raise InputError(f"{part!r} in {word} has an end that is no number; {_FORMS}") from None
    return spread(low, high, int(match["count"]), match["scale"], word)


def spread(low: float, high: float, count: int, scale: str = "log", word: str = "") -> list[str]:
    """Numbers from `low` to `high`, evenly on a scale, of four digits.

    Raises:
        InputError: where there is no such range; it names `word`.
    """
    if count < 2 or not low < high < math.inf or (scale == "log" and low <= 0):
        positive = "positive " if scale == "log" else ""
        raise InputError(f"{word} is no range; give two {positive}ends, the lower first, and two or more values")
    numbers = np.geomspace(low, high, count) if scale == "log" else np.linspace(low, high, count)
    found = [f"{number:.4g}" for number in numbers]
    if len(set(found)) < count:
        raise InputError(f"{word} has {count} values too close to be told apart; give fewer")
    return found


def of_equal_size(plain: Grid, count: int, option: str, middle: float) -> Grid:
    """A grid of `count` settings for the side that has fewer options to choose, so that both get as many tries.

    Its values of one option are as many more as are needed: over the range that it has in the grid already, or from a
    quarter of `middle` to four times that.

    Args:
        plain: the options that this side has.
        count: a multiple of the number of settings of `plain`'s other options.
        option: whose values are drawn.
        middle: its value where the grid does not have it.
    """
    if len(plain) == count:
        return plain
    others = plain.without(option)
    numbers = [float(value) for value in plain.values.get(option, ())]
    low, high = (min(numbers), max(numbers)) if len(numbers) > 1 else (middle / 4, middle * 4)
    return Grid({**others.values, option: tuple(spread(low, high, count // len(others)))})
