"""Regularizers of neural optimizers by name. A new one is one file and one line here."""

from fewshot.registry import Registry
from fewshot.regularizers.base import NoOptions, Regularizer, RowOptions, WeightOptions
from fewshot.regularizers.penalty import inner_step
from fewshot.regularizers.smoothness import Smoothness, SmoothOptions
from fewshot.regularizers.spectral import Spectral
from fewshot.regularizers.weight_norms import L2, Orthogonal

REGULARIZERS: Registry[type[Regularizer]] = Registry("regularizer")
REGULARIZERS.register("none", Regularizer)
REGULARIZERS.register("smooth", Smoothness)
REGULARIZERS.register("l2", L2)
REGULARIZERS.register("orthogonal", Orthogonal)
REGULARIZERS.register("spectral", Spectral)

__all__ = [
    "L2",
    "REGULARIZERS",
    "NoOptions",
    "Orthogonal",
    "Regularizer",
    "RowOptions",
    "SmoothOptions",
    "Smoothness",
    "Spectral",
    "WeightOptions",
    "inner_step",
]
