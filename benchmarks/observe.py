"""Who watches a run: a progress bar on the terminal, scalars for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from fewshot.console import progress

LOG_EVERY = 10
"""Meta-training steps between TensorBoard points."""
SMOOTHING = 0.05
"""Weight of the newest step in the running accuracy of the progress bar."""


class RunObserver:
    """Shows meta-training and evaluation of one run; a context manager."""

    def __init__(self, folder: Path, title: str, episodes: int, done: int, quiet: bool) -> None:
        """Begin to watch.

        Args:
            folder: where TensorBoard files go.
            title: of the progress bar.
            episodes: meta-training steps in all.
            done: steps done before an interruption.
            quiet: no progress bar.
        """
        self._display = progress(quiet)
        self._task = self._display.add_task(title, total=episodes, completed=done, note="")
        self._title, self._accuracy, self._validated = title, None, ""
        self._writer = SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()
        self._writer.close()

    def step(self, episode: int, scalars: dict[str, float]) -> None:
        accuracy = scalars["accuracy"]
        self._accuracy = (
            accuracy if self._accuracy is None else self._accuracy + SMOOTHING * (accuracy - self._accuracy)
        )
        note = f"training accuracy {self._accuracy:.1%}{self._validated}"
        self._display.update(self._task, completed=episode, note=note)
        if episode % LOG_EVERY == 0:
            for name, value in scalars.items():
                self._writer.add_scalar(f"train/{name}", value, episode)
            self._writer.add_scalar("train/penalty_to_loss", scalars["penalty"] / scalars["loss"], episode)

    def validated(self, episode: int, accuracy: float, best: bool) -> None:
        self._validated = f", validation {accuracy:.1%}{' (best)' if best else ''}"
        self._writer.add_scalar("validation/accuracy", accuracy, episode)
        self._writer.flush()

    def evaluating(self, what: str, episodes: int) -> None:
        """Show a further bar for `episodes` test episodes."""
        self._task = self._display.add_task(f"{self._title}: {what}", total=episodes, note="")

    def advance(self) -> None:
        """One test episode is done."""
        self._display.advance(self._task)
