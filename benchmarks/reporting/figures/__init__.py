"""Figures from plain arrays, a kind a module, and `write_figures`, which makes all that the records allow."""

from benchmarks.reporting.drawn import Cost, ForestLine, Response, Series, Spread
from benchmarks.reporting.figures.cost import cost_figure
from benchmarks.reporting.figures.curves import METRICS, Metric, Panel, curves_figure, panels_figure
from benchmarks.reporting.figures.distributions import distributions_figure
from benchmarks.reporting.figures.forest import forest_figure
from benchmarks.reporting.figures.smoothness import smoothness_figure
from benchmarks.reporting.figures.style import save
from benchmarks.reporting.figures.training import step_sizes_figure, training_figure
from benchmarks.reporting.figures.write import write_figures

__all__ = [
    "METRICS",
    "Cost",
    "ForestLine",
    "Metric",
    "Panel",
    "Response",
    "Series",
    "Spread",
    "cost_figure",
    "curves_figure",
    "distributions_figure",
    "forest_figure",
    "panels_figure",
    "save",
    "smoothness_figure",
    "step_sizes_figure",
    "training_figure",
    "write_figures",
]
