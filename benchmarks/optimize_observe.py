"""Who watches a run of the general track: progress bars on the terminal, scalars for TensorBoard."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter

from fewshot.console import progress


class OptimizeObserver:
    """Shows meta-training, grids and tests of one run, one bar after the other; a context manager."""

    def __init__(self, folder: Path, title: str, quiet: bool) -> None:
        """Begin to watch.

        Args:
            folder: of the run; TensorBoard files go to `tensorboard` below it.
            title: of the progress bars.
            quiet: no progress bars.
        """
        self._display, self._title, self._validated = progress(quiet), title, ""
        self._writer = SummaryWriter(str(folder / "tensorboard"))

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

    def step(self, unroll: int, scalars: dict[str, float]) -> None:
        name = "distance" if "distance" in scalars else "loss"
        self._display.update(self._task, completed=unroll, note=f"{name} {scalars[name]:.3g}{self._validated}")
        for name, value in scalars.items():
            self._writer.add_scalar(f"train/{name}", value, unroll)

    def validated(self, unroll: int, loss: float, best: bool) -> None:
        self._validated = f", validation {loss:.3f}{' (best)' if best else ''}"
        self._writer.add_scalar("validation/loss", loss, unroll)
        self._writer.flush()
