"""What every command shares: errors in one line, output that survives a closed pipe, progress that people can read."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from fewshot.errors import InputError
from fewshot.files import out_of_room

FIRST_LINE, NEXT_LINE = 10.0, 60.0
"""Seconds until the first line of progress where there is no terminal to show a bar, and between further ones."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: a scheduler's warning, for which work is put away exactly as for Ctrl-C."""


def run_command(main: Callable[[Sequence[str] | None], None], arguments: Sequence[str] | None = None) -> None:
    """Run a command's `main`; what is no bug ends in one line on standard error.

    Exit status: 2 for an `InputError` and for a full disk, 130 after Ctrl-C, 143 after SIGTERM; and that of success
    where whoever read the output (a pager, `head`) has seen enough.
    Letters that the terminal cannot show are printed as `\\xHH` instead of ending the command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminated_by_signal():
            main(arguments)
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
            return
        _close_quietly()
    except BrokenPipeError:
        _close_quietly()
    except InputError as error:
        _fail(f"error: {' '.join(str(error).split())}", 2)
    except (OSError, RuntimeError) as error:
        if not out_of_room(error):
            raise
        name = getattr(error, "filename", None)
        where = f" while {name} was written" if name else ""
        _fail(f"error: the disk is full{where}; free space there, and the same command continues", 2)
    except KeyboardInterrupt as interrupt:
        what, status = ("terminated", 143) if isinstance(interrupt, Terminated) else ("interrupted", 130)
        _fail(f"{what}: {str(interrupt) or 'the same command continues from the last checkpoint'}", status)


def run_as_main(module: str, words: Sequence[str]) -> None:
    """What `python -m MODULE WORDS` does, in this process."""
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def say(text: str) -> None:
    """Print a line on standard output at once; work goes on where nobody reads it any more."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _close_quietly()


def note(text: str) -> None:
    """Print a line on standard error: what people should know, but what is no result."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def starts_over() -> Iterator[None]:
    """For work without checkpoints: who interrupts it is told so."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise type(interrupt)("nothing was written; the same command begins again") from None


def progress(quiet: bool = False) -> Progress:
    """Progress on standard error with counts, elapsed time and ETA: bars on a terminal, else a line now and then.

    Tasks may set the field `note` (a short text such as a running accuracy). Where the terminal is narrow the note
    gives way, never the ETA. Nothing is shown if `quiet`.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn(
            "{task.description}",
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=max(12, min(44, console.width - 50))),
        ),
        BarColumn(bar_width=min(40, max(3, console.width - 90))),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("ETA", table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    if quiet or console.is_terminal:
        return Progress(*columns, console=console, disable=quiet, expand=True)
    return _Lines(*columns, console=console, disable=True)


class _Lines(Progress):
    """Tells of its newest task in a line now and then."""

    _due = 0.0

    def add_task(self, description: str, *arguments: Any, **options: Any) -> TaskID:
        self._due = time.monotonic() + FIRST_LINE
        return super().add_task(description, *arguments, **options)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + NEXT_LINE
            note(_line(self._tasks[task_id]))


def _line(task: Task) -> str:
    total = "?" if task.total is None else f"{task.total:,.0f}"
    left = "" if task.time_remaining is None else f", ETA {duration(task.time_remaining)}"
    words = task.fields.get("note") or ""
    return f"{task.description}: {task.completed:,.0f} of {total}{left}{words and f', {words}'}"


def duration(seconds: float) -> str:
    """A time in words of one or two units: "40 s", "3 min 20 s", "2 h 10 min", "20 days"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = timedelta(seconds=round(seconds))
    if whole.days >= 2:
        return f"{seconds / 86_400:,.0f} days"
    hours, minutes, rest = round(seconds) // 3600, round(seconds) % 3600 // 60, round(seconds) % 60
    if hours:
        return f"{hours} h {minutes} min" if hours < 10 else f"{seconds / 3600:.0f} h"
    return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{seconds / 60:.0f} min"


def _fail(text: str, status: int) -> None:
    with contextlib.suppress(OSError):
        note(text)
    raise SystemExit(status) from None


def _close_quietly() -> None:
    """What is still buffered, and all that is printed from now on, goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _terminated_by_signal() -> Iterator[None]:
    def raise_it(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, raise_it)
    except ValueError:  # not the main thread: whoever runs it there has a way of their own to end it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
