"""Neural optimizers by name. A new one is one file and one line here."""

from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.core import Hidden, NeuralOptimizer, Response, Step, inner_step
from fewshot.optimizers.dm import DM
from fewshot.optimizers.meta_lstm import MetaLSTM
from fewshot.optimizers.rnnprop import RNNprop
from fewshot.optimizers.simple import Simple
from fewshot.optimizers.synthetic_gradient import SyntheticGradient

OPTIMIZERS: dict[str, type[NeuralOptimizer]] = {
    "meta_lstm": MetaLSTM,
    "synthetic_gradient": SyntheticGradient,
    "simple": Simple,
    "dm": DM,
    "rnnprop": RNNprop,
}
LEARNED: dict[str, type[CoordinatewiseOptimizer]] = {
    name: core for name, core in OPTIMIZERS.items() if issubclass(core, CoordinatewiseOptimizer)
}
"""Those that optimize network weights: choices of the general track and of the drop-in optimizer."""

__all__ = [
    "DM",
    "LEARNED",
    "OPTIMIZERS",
    "CoordinatewiseOptimizer",
    "Hidden",
    "MetaLSTM",
    "NeuralOptimizer",
    "RNNprop",
    "Response",
    "Simple",
    "Step",
    "SyntheticGradient",
    "inner_step",
]
