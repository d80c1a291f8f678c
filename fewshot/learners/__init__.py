"""Few-shot learners by name. A new one is one file and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import nn

from fewshot.learners import maml, meta_lstm, protonet, sib
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
    """Frozen dataclass of its options; a `FeatureOptions` where it learns from features."""
    build: Build
    learns_from: Literal["images", "features"]
    """Episodes of images [C, H, W], or of a frozen backbone's features [D]: then `channels` is D, `image_size` 1."""
    regularized: bool
    """Whether there is a neural optimizer that a regularizer could make smooth."""


METHODS: dict[str, Method] = {
    "meta_lstm": Method(meta_lstm.MetaLSTMOptions, meta_lstm.build, "images", regularized=True),
    "sib": Method(sib.SIBOptions, sib.build, "features", regularized=True),
    "protonet": Method(protonet.ProtoNetOptions, protonet.build, "features", regularized=False),
    "maml": Method(maml.MAMLOptions, maml.build, "images", regularized=False),
}

__all__ = ["METHODS", "Learner", "Method", "Prediction"]
