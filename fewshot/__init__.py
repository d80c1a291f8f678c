"""Few-shot meta-learning and learned optimizers with a pluggable smoothness regularizer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewshot.optimizers.optimizer_file import read_card
    from fewshot.optimizers.torch_optimizer import LearnedOptimizer
    from fewshot.trained import load_learner

__version__ = "0.2.0"
__all__ = ["LearnedOptimizer", "__version__", "load_learner", "read_card"]

_HOMES = {
    "LearnedOptimizer": "fewshot.optimizers.torch_optimizer",
    "load_learner": "fewshot.trained",
    "read_card": "fewshot.optimizers.optimizer_file",
}


def __getattr__(name: str) -> Any:
    """What imports torch, which `import fewshot` alone does not, is imported when somebody asks for it."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    try:
        return importlib.import_module(f"fewshot.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"fewshot.{name}":
            raise
        raise AttributeError(f"module 'fewshot' has no attribute {name!r}") from None
