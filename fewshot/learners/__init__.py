"""Few-shot learners by name. A new one is one file and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from fewshot.learners import meta_lstm
from fewshot.learners.base import Learner, Prediction
from fewshot.regularizers.base import Regularizer


class Build(Protocol):
    """Makes a fresh learner from the shape of its problem, its options, a regularizer and a source of randomness."""

    def __call__(
        self,
        channels: int,
        image_size: int,
        way: int,
        options: Any,
        regularizer: Regularizer,
        generator: torch.Generator,
    ) -> nn.Module: ...


@dataclass(frozen=True)
class Method:
    """A learner as the registry knows it."""

    options: type
    """Frozen dataclass of its options."""
    build: Build


METHODS: dict[str, Method] = {
    "meta_lstm": Method(meta_lstm.MetaLSTMOptions, meta_lstm.build),
}

__all__ = ["METHODS", "Learner", "Method", "Prediction"]
