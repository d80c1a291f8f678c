"""Options in a file, TOML or JSON, as `benchmarks.sweep` writes what it chose and `--config` reads it.

    regularizer = "smooth"
    penalty.weight = 0.1
    training.meta-rate = 1e-3

Names are those of the command line, written with dots or as tables; underscores count as hyphens. What is said of an
option there counts where the command line does not name it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fewshot.errors import InputError
from fewshot.files import write_text

Value = bool | list[str]
"""Of an option: whether a flag is set, or its words."""
_FORMS = "give a TOML or JSON file of options, such as `penalty.weight = 0.1`"


def read_options(path: Path) -> dict[str, Value]:
    """The options in a file, by name.

    Raises:
        InputError: where it cannot be read, or holds what is no option.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {_FORMS}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({' '.join(str(error).split())[:100]}); {_FORMS}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no options by name; {_FORMS}")
    return {name: _value(value, name, path) for name, value in _flat(content) if value is not None}


def write_options(path: Path, options: Mapping[str, Any], heading: Iterable[str] = ()) -> None:
    """Write options as TOML, completely or not at all; those that are None are left out.

    Args:
        path: of the file.
        options: by name, such as "penalty.weight": texts, numbers, truth values, lists of them.
        heading: lines of comment.
    """
    lines = [*(f"# {line}".rstrip() for line in heading)]
    lines += [f"{name} = {json.dumps(value)}" for name, value in options.items() if value is not None]
    write_text(path, "\n".join([*lines, ""]))


def flat_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Nested options, as a record has them, by the names of the command line."""
    return dict(_flat(options))


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        name = prefix + key.replace("_", "-")
        if isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _value(value: Any, name: str, path: Path) -> Value:
    if isinstance(value, bool):
        return value
    members = value if isinstance(value, list) else [value]
    if any(isinstance(m, bool) or not isinstance(m, str | int | float) for m in members):
        raise InputError(f"{name} in {path} is {value!r}; give a text, a number, true or false, or a list of some")
    return [str(member) for member in members]
