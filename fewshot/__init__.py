"""Few-shot meta-learning and learned optimizers with a pluggable smoothness regularizer."""

__version__ = "0.1.0"
