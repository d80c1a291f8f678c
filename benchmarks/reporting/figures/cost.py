"""What a result costs: accuracy against the time of meta-training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reporting.drawn import Cost
from benchmarks.reporting.figures.style import limits, log_scale, new_figure, shared_legend, styled
from benchmarks.reporting.style import line_style


def cost_figure(costs: Sequence[Cost], title: str, y_label: str) -> Figure:
    """A point a row at its median time, bars over the seeds' range of times and the interval of the result."""
    with styled():
        figure, axes = new_figure(1, 1, title, panel=(5.6, 3.4))
        panel = axes[0, 0]
        for cost in costs:
            style = line_style(cost.method, cost.regularizer, cost.learned)
            middle = float(np.median(cost.seconds))
            spread = [[middle - cost.seconds.min()], [cost.seconds.max() - middle]]
            panel.errorbar(
                middle,
                cost.result,
                xerr=spread,
                yerr=None if np.isnan(cost.half_width) else cost.half_width,
                color=style.colour,
                marker=style.marker,
                fillstyle=style.fill,
                markersize=7,
                linestyle="none",
                capsize=2,
                label=cost.label,
            )
        times = limits([cost.seconds for cost in costs], log=True)
        if times:
            panel.set_xlim(*times)
        log_scale(panel, "x")
        panel.set(xlabel="time of meta-training per seed (s; bar: fastest to slowest seed)", ylabel=y_label)
        shared_legend(figure, axes)
    return figure
