"""The preparation commands: `python -m data_prep` lists them, `python -m data_prep NAME ...` is one of them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fewshot.console import run_as_main, run_command
from fewshot.errors import one_of


def commands() -> Iterator[tuple[str, str]]:
    """Name of each command, and what it does, from the first line of its module."""
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        line = (ast.get_docstring(ast.parse(path.read_bytes())) or "").partition("\n")[0]
        yield path.stem, line.partition(": `")[0].rstrip(".")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, or list them."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    known = dict(commands())
    if words and words[0] not in ("-h", "--help"):
        one_of("command", words[0], known)
        run_as_main(f"data_prep.{words[0]}", words[1:])
        return
    print("python -m data_prep.NAME (--help shows its options, --dry-run what it would do), also as")
    print("`fewshot-prep NAME`, where NAME is\n")
    for name, line in known.items():
        print(f"  {name:16} {line}")


def script() -> None:
    """The console script `fewshot-prep`."""
    run_command(main)


if __name__ == "__main__":
    script()
