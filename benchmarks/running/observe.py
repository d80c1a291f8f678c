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
        self._display, self._title, self._validated = progress(quiet), title, ""
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1 if done else None)

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()
        self._writer.close()

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Show a further bar."""
        self._task = self._display.add_task(f"{self._title}: {what}", total=total, completed=done, note="")

    def advance(self) -> None:
        """One unit of the newest bar is done."""
        self._display.advance(self._task)


class RunObserver(Observer):
    """Watches meta-training and evaluation of a few-shot learner."""

    _accuracy: float | None = None

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
