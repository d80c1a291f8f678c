"""Neural optimizers by name. A new one is one file and one line here."""

from fewshot.optimizers.core import Hidden, NeuralOptimizer, Response, Step, inner_step
from fewshot.optimizers.meta_lstm import MetaLSTM
from fewshot.optimizers.synthetic_gradient import SyntheticGradient

OPTIMIZERS: dict[str, type[NeuralOptimizer]] = {
    "meta_lstm": MetaLSTM,
    "synthetic_gradient": SyntheticGradient,
}

__all__ = [
    "OPTIMIZERS",
    "Hidden",
    "MetaLSTM",
    "NeuralOptimizer",
    "Response",
    "Step",
    "SyntheticGradient",
    "inner_step",
]
