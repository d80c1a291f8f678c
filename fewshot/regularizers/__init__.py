"""Regularizers of neural optimizers by name. A new one is one file and one line here."""

from fewshot.regularizers.base import PenaltyOptions, Regularizer
from fewshot.regularizers.smoothness import Smoothness
from fewshot.regularizers.spectral import Spectral
from fewshot.regularizers.weight_norms import L2, Orthogonal

REGULARIZERS: dict[str, type[Regularizer]] = {
    "none": Regularizer,
    "smooth": Smoothness,
    "l2": L2,
    "orthogonal": Orthogonal,
    "spectral": Spectral,
}

__all__ = ["L2", "REGULARIZERS", "Orthogonal", "PenaltyOptions", "Regularizer", "Smoothness", "Spectral"]
