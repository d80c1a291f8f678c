"""Meta-training over episodes or unrolls, and the step sizes that an optimizer learns in it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from benchmarks.reporting.drawn import Series
from benchmarks.reporting.figures.curves import Panel, panels_figure


def training_figure(panels: Sequence[tuple[str, str, Sequence[Series]]], title: str, clock: str) -> Figure:
    """Meta-training and validation side by side.

    Args:
        panels: (name of the metric in `METRICS`, title of the panel, its lines).
        title: which data.
        clock: what x counts: episode or unroll.
    """
    return panels_figure([[Panel(s, metric, name, f"meta-training {clock}") for metric, name, s in panels]], title)


def step_sizes_figure(
    step_size: Sequence[Series], keep: Sequence[Series], title: str, clock: str = "episode"
) -> Figure:
    """How far a Meta-LSTM follows gradients, σ(i), and how much of a weight it keeps, σ(f), while it learns.

    Args:
        step_size, keep: means over the inner steps and weights of an episode.
        title: which data.
        clock: what x counts.
    """
    return training_figure([("step_size", "step size", step_size), ("keep", "weight kept", keep)], title, clock)
