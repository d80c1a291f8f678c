"""What every command shares: errors without tracebacks, and progress bars that keep quiet when piped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fewshot.errors import InputError


def run_command(main: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> None:
    """Run a command's `main`; an `InputError` becomes one line on standard error and exit status 2."""
    try:
        main(arguments)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted: the same command continues from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None


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
