"""Optimizers of network weights by name. A new one is one file and one line here.

Those of Meta-LSTM and SIB belong to their learners, and are chosen with them.
"""

from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.core import Hidden, NeuralOptimizer, Response, Step
from fewshot.optimizers.dm import DM
from fewshot.optimizers.l2o_scale import L2OScale
from fewshot.optimizers.meta_lstm import MetaLSTM
from fewshot.optimizers.rnnprop import RNNprop
from fewshot.optimizers.simple import Simple
from fewshot.optimizers.stability import StabilityOptions, create
from fewshot.optimizers.synthetic_gradient import SyntheticGradient
from fewshot.registry import Registry

LEARNED: Registry[type[CoordinatewiseOptimizer]] = Registry("optimizer")
"""Choices of the general track and of the drop-in optimizer."""
LEARNED.register("simple", Simple)
LEARNED.register("dm", DM)
LEARNED.register("rnnprop", RNNprop)
LEARNED.register("l2o_scale", L2OScale)

__all__ = [
    "DM",
    "LEARNED",
    "CoordinatewiseOptimizer",
    "Hidden",
    "L2OScale",
    "MetaLSTM",
    "NeuralOptimizer",
    "RNNprop",
    "Response",
    "Simple",
    "StabilityOptions",
    "Step",
    "SyntheticGradient",
    "create",
]
