"""How the optimizers of a row were selected: on validation, from meta-trainings that may explode or be clipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean, median

from benchmarks.running.schema import is_early


@dataclass(frozen=True)
class Trained:
    """What the meta-training of one seed left behind, of the general track; None where it is not known."""

    lipschitz: float | None
    """Largest slope of its updates around zero, of the optimizer that validated best."""
    best: float | None
    """Its loss on validation."""
    last: float | None
    """That of the last optimizer; infinite where it diverged."""
    best_unroll: int | None = None
    """Unrolls after which the best one was taken."""
    exploded: float | None = None
    """See `schema.GeneralTraining.exploded`."""
    clipped: float | None = None
    """See `schema.GeneralTraining.clipped`."""

    @property
    def early(self) -> bool:
        """Whether the best optimizer is an early one."""
        return self.best is not None and self.last is not None and is_early(self.best, self.last)


@dataclass(frozen=True)
class Selection:
    """Of all seeds of a row, those that know it; NaN where none does."""

    exploded: float
    """Share of unrolls, in %: mean."""
    clipped: float
    """Share of the meta-gradient, or of meta-steps, that clipping cut, in %: mean."""
    best_unroll: float
    """Median."""
    best_loss: float
    """On validation: mean."""
    last_loss: float
    """Mean; infinite where one diverged."""


def selection_of(trained: Iterable[Trained]) -> Selection | None:
    """What is known of several meta-trainings; None where nothing is."""
    seeds = [seed for seed in trained if seed.best is not None]
    if not seeds:
        return None

    def known(name: str, average: Callable[[list[float]], float] = fmean, scale: float = 1.0) -> float:
        values = [scale * value for seed in seeds if (value := getattr(seed, name)) is not None]
        return average(values) if values else float("nan")

    return Selection(
        exploded=known("exploded", scale=100),
        clipped=known("clipped", scale=100),
        best_unroll=known("best_unroll", median),
        best_loss=known("best"),
        last_loss=known("last"),
    )
