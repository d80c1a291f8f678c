"""Who watches a run: a progress bar on the terminal, scalars for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from fewshot.console import duration, note, progress

FORETOLD_AFTER, LONG = 20.0, 3600.0
"""Seconds until the pace of some work is known, and from which on what is left is worth a word."""


class Observer:
    """Bars on the terminal and scalars for TensorBoard, of one run; a context manager."""

    def __init__(self, folder: Path, title: str, quiet: bool, done: int = 0) -> None:
        """Begin to watch.

        Args:
            folder: of the run; TensorBoard files go to `tensorboard` below it.
            title: of the bars.
            quiet: no bars.
            done: steps done before an interruption; what TensorBoard has of later ones counts no more.
        """
        self.display, self._title = progress(quiet), title
        self._scalars: SummaryWriter | None = None
        self._folder, self._purge = folder / "tensorboard", done + 1 if done else None

    def __enter__(self) -> Self:
        self.display.start()
        try:
            self._scalars = SummaryWriter(str(self._folder), purge_step=self._purge)
        except OSError as error:
            self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.display.stop()
        if self._scalars is not None:
            try:
                self._scalars.close()
            except OSError as failure:
                self._give_up(failure)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Show a further bar."""
        self._task = self.display.add_task(f"{self._title}: {what}", total=total, completed=done, note="")
        self._begun, self._done, self._total, self._foretold = time.monotonic(), done, total, False

    def advance(self, count: int = 1) -> None:
        """So many units of the newest bar are done."""
        self.display.advance(self._task, count)

    def show(self, completed: int, words: str) -> None:
        """Where the newest bar stands, and a short note beside it."""
        self.display.update(self._task, completed=completed, note=words)
        self._foretell(completed)

    def _foretell(self, completed: int) -> None:
        """Say it once where the work will take hours: who started it by mistake should not find out tomorrow."""
        took = time.monotonic() - self._begun
        if self._foretold or took < FORETOLD_AFTER:
            return
        self._foretold = True
        left = took / max(1, completed - self._done) * (self._total - completed)
        if left > LONG:
            note(f"{self._title}: about {duration(left)} to go at this pace; it can be interrupted and continued")

    def scalars(self, values: Mapping[str, float], step: int, flush: bool = False) -> None:
        """Points for TensorBoard. Curves are a convenience: where they cannot be written, the run goes on."""
        if self._scalars is None:
            return
        try:
            for name, value in values.items():
                self._scalars.add_scalar(name, value, step)
            if flush:
                self._scalars.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._scalars = None
        note(f"no more curves for TensorBoard in {self._folder}: {error.strerror or error}; the run goes on")
