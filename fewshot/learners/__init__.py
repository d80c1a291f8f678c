"""Few-shot learners by name. A new one is one file and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import nn

from fewshot.learners import maml, meta_lstm, protonet, sib
from fewshot.learners.base import Learner, Prediction
from fewshot.learners.features import FeatureOptions
from fewshot.registry import Registry
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
    """Frozen dataclass of its options, every field with a default; a `FeatureOptions` where it learns from features."""
    build: Build
    regularized: bool = False
    """Whether there is a neural optimizer that a regularizer could make smooth."""
    tied_to_way: str = "its weights may be tied to that number"
    """Why a learner of some number of classes cannot tell another number apart; empty: it can."""
    computation: int = 1
    """Version of what is computed; a change of rounding is a new one (CHANGELOG.md)."""

    @property
    def learns_from(self) -> Literal["images", "features"]:
        """Episodes of images [C, H, W], or of a backbone's features [D]: then `channels` is D, `image_size` 1."""
        return "features" if issubclass(self.options, FeatureOptions) else "images"


METHODS: Registry[Method] = Registry("method")
_HEAD = "its learned initial weights have a row for each of these classes"
METHODS.register(
    "meta_lstm",
    Method(meta_lstm.MetaLSTMOptions, meta_lstm.build, regularized=True, tied_to_way=_HEAD, computation=2),
)
_SCORES = "its synthetic gradient network takes so many scores"
METHODS.register("sib", Method(sib.SIBOptions, sib.build, regularized=True, tied_to_way=_SCORES))
METHODS.register("protonet", Method(protonet.ProtoNetOptions, protonet.build, tied_to_way=""))
METHODS.register("maml", Method(maml.MAMLOptions, maml.build, tied_to_way=_HEAD))

__all__ = ["METHODS", "Learner", "Method", "Prediction"]
