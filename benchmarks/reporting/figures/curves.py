"""Learning curves with bands: optimizees under learned and hand-designed optimizers, and meta-training itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.reporting.drawn import Series
from benchmarks.reporting.figures.style import draw_line, limits, log_scale, new_figure, shared_legend, styled
from benchmarks.reporting.series import LONG
from benchmarks.reporting.style import line_style


@dataclass(frozen=True)
class Metric:
    """What an axis shows."""

    label: str
    """With its unit."""
    scale: float = 1.0
    """Recorded values are multiplied by this."""
    log: bool = False


METRICS = {
    "train_loss": Metric("training loss (cross-entropy, nats)", log=True),
    "test_loss": Metric("test loss (cross-entropy, nats)", log=True),
    "train_accuracy": Metric("training accuracy (%)", 100.0),
    "test_accuracy": Metric("test accuracy (%)", 100.0),
    "loss": Metric("loss (cross-entropy, nats)", log=True),
    "accuracy": Metric("accuracy (%)", 100.0),
    "meta_loss": Metric("meta-loss (weighted sum over a truncation)", log=True),
    "step_size": Metric("learned step size, mean σ(i)", log=True),
    "keep": Metric("weight kept, mean σ(f)"),
}
"""Of curves, by the names that records use."""


@dataclass(frozen=True)
class Panel:
    """One set of axes."""

    series: Sequence[Series]
    metric: str
    """A name in `METRICS`."""
    title: str
    x_label: str = "optimizer step"


def curves_figure(series: Sequence[Series], metric: str, title: str, x_label: str = "optimizer step") -> Figure:
    """One panel of curves: learned solid with markers, hand-designed dashed, bands of 95 %.

    Args:
        series: the lines, in the order of the legend.
        metric: a name in `METRICS`.
        title: which data, which model.
        x_label: what x counts.
    """
    return panels_figure([[Panel(series, metric, "", x_label)]], title)


def panels_figure(panels: Sequence[Sequence[Panel]], title: str) -> Figure:
    """Rows of panels with one legend, as in Figures 3 to 6 and 8 of the paper."""
    with styled():
        figure, axes = new_figure(len(panels), max(map(len, panels)), title)
        for row, line in zip(axes, panels, strict=True):
            for place, panel in zip(row, line, strict=False):
                draw_curves(place, panel)
            for place in row[len(line) :]:
                place.set_axis_off()
        shared_legend(figure, axes)
    return figure


def draw_curves(axes: Axes, panel: Panel) -> None:
    """The lines and bands of one panel; the axis follows the lines, a band of few seeds may leave it."""
    metric = METRICS[panel.metric]
    for line in panel.series:
        style = line_style(line.method, line.regularizer, line.learned)
        mean = metric.scale * line.mean
        draw_line(axes, line.x, mean, style, legend_label(line))
        axes.fill_between(
            line.x, metric.scale * line.low, metric.scale * line.high, color=style.colour, alpha=0.15, linewidth=0
        )
        if line.ended and len(line.x):
            axes.plot(line.x[-1:], mean[-1:], marker="x", markersize=7, color=style.colour, linestyle="none")
    _scale(axes, panel, metric)
    label = metric.label.replace(" (cross", "\n(cross")  # longer than a panel is high
    axes.set(xlabel=panel.x_label, ylabel=label, title=panel.title)


def legend_label(line: Series) -> str:
    """Label, what the band is over, and why the line ends, if early."""
    over = f"{line.n} {line.unit if line.n > 1 else line.unit.removesuffix('s')}"
    return f"{line.label}, {over}" + (f"; {line.ended} (×)" if line.ended else "")


def _scale(axes: Axes, panel: Panel, metric: Metric) -> None:
    lines = [line for line in panel.series if len(line.x)]
    positive = all((line.mean > 0).all() for line in lines)
    bounds = limits([metric.scale * line.mean for line in lines], metric.log and positive)
    if bounds:
        axes.set_ylim(*bounds)
    if metric.log and positive and lines:
        log_scale(axes, "y")
    longest = max((float(line.x[-1]) for line in lines), default=0.0)
    if longest >= LONG and panel.x_label == "optimizer step":
        axes.set_xscale("symlog", linthresh=10)
        axes.set_xlim(0, longest)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    elif lines:
        axes.set_xlim(float(np.min([line.x[0] for line in lines])), longest or 1.0)
