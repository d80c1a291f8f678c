"""List the preparation commands: `python -m data_prep`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def commands() -> Iterator[tuple[str, str]]:
    """Name of each command, and what it does, from the first line of its module."""
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        line = (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]
        yield path.stem, line.partition(": `")[0].rstrip(".")


def main() -> None:
    """The command."""
    print("python -m data_prep.NAME (--help shows its options, --dry-run what it would do), where NAME is\n")
    for name, line in commands():
        print(f"  {name:16} {line}")


if __name__ == "__main__":
    main()
