"""Neural optimizers by name. A new one is one file and one line here."""

from fewshot.optimizers.core import Hidden, NeuralOptimizer, Response, Step, inner_step
from fewshot.optimizers.meta_lstm import MetaLSTM

OPTIMIZERS: dict[str, type[NeuralOptimizer]] = {
    "meta_lstm": MetaLSTM,
}

__all__ = ["OPTIMIZERS", "Hidden", "MetaLSTM", "NeuralOptimizer", "Response", "Step", "inner_step"]
