"""Who watches a run of the general track."""

from __future__ import annotations

from benchmarks.running.observe import Observer


class OptimizeObserver(Observer):
    """Watches meta-training, grids and tests of an optimizer of network weights."""

    def step(self, unroll: int, scalars: dict[str, float]) -> None:
        name = "distance" if "distance" in scalars else "loss"
        self._display.update(self._task, completed=unroll, note=f"{name} {scalars[name]:.3g}{self._validated}")
        for name, value in scalars.items():
            self._writer.add_scalar(f"train/{name}", value, unroll)

    def validated(self, unroll: int, loss: float, best: bool) -> None:
        self._validated = f", validation {loss:.3f}{' (best)' if best else ''}"
        self._writer.add_scalar("validation/loss", loss, unroll)
        self._writer.flush()
