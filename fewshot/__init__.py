"""Few-shot meta-learning and learned optimizers with a pluggable smoothness regularizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewshot.optimizers.torch_optimizer import LearnedOptimizer

__version__ = "0.1.0"
__all__ = ["LearnedOptimizer", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "LearnedOptimizer":  # imports torch, which `import fewshot` alone does not
        from fewshot.optimizers.torch_optimizer import LearnedOptimizer

        return LearnedOptimizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
