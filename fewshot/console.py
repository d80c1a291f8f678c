"""What every command shares: errors without tracebacks, and progress bars that keep quiet when piped."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fewshot.errors import InputError


def run_command(main: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> None:
    """Run a command's `main`; an `InputError` becomes one line on standard error and exit status 2.

    Letters that the terminal cannot show are printed as `\\xHH` instead of ending the command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main(arguments)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt as interrupt:
        promise = str(interrupt) or "the same command continues from the last checkpoint"
        print(f"interrupted: {promise}", file=sys.stderr)
        raise SystemExit(130) from None


@contextlib.contextmanager
def starts_over() -> Iterator[None]:
    """For work without checkpoints: who interrupts it is told so."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was written; the same command begins again") from None


def progress(quiet: bool = False) -> Progress:
    """A progress display on standard error with counts, elapsed time and ETA; silent if `quiet` or not a terminal.

    Tasks may set the field `note` (a short text such as a running accuracy).
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=quiet or not console.is_terminal,
    )
