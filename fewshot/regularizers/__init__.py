"""Regularizers of neural optimizers by name. A new one is one file and one line here."""

from fewshot.regularizers.base import PenaltyOptions, Regularizer
from fewshot.regularizers.smoothness import Smoothness

REGULARIZERS: dict[str, type[Regularizer]] = {
    "none": Regularizer,
    "smooth": Smoothness,
}

__all__ = ["REGULARIZERS", "PenaltyOptions", "Regularizer", "Smoothness"]
