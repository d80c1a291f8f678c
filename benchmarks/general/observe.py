"""Who watches a run of the general track."""

from __future__ import annotations

import math

from benchmarks.running.observe import Observer


class GeneralObserver(Observer):
    """Watches meta-training, grids and tests of an optimizer of network weights."""

    _validated = ""

    def step(self, unroll: int, scalars: dict[str, float]) -> None:
        """An unroll ended."""
        name = "distance" if "distance" in scalars else "loss"
        self.show(unroll, f"{name} {scalars[name]:.3g}{self._validated}")
        self.scalars({f"train/{name}": value for name, value in scalars.items()}, unroll)

    def validated(self, unroll: int, loss: float, best: bool) -> None:
        """A validation ended."""
        self._validated = f", validation {'diverged' if math.isnan(loss) else f'{loss:.3f}'}{' (best)' if best else ''}"
        self.scalars({"validation/loss": loss}, unroll, flush=True)
