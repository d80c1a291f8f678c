"""Nearest centroids in a frozen backbone's features: what a table shows the neural optimizer's gain against.

Jake Snell et al., "Prototypical Networks for Few-shot Learning", NeurIPS 2017, with cosine similarity; SIB's start θ⁰
with its diagonal left at one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from fewshot.learners.base import Prediction
from fewshot.learners.features import FeatureOptions
from fewshot.learners.prototypes import CosineScores, class_means
from fewshot.regularizers.base import Regularizer

if TYPE_CHECKING:
    from fewshot.data.episodes import Episode


@dataclass(frozen=True)
class ProtoNetOptions(FeatureOptions):
    """Options of nearest centroids."""


class ProtoNet(nn.Module):
    """Cosine similarity to the class means of the support. Only a scale and a bias are learned: no answer changes."""

    transductive = False
    batched = True

    def __init__(self, way: int) -> None:
        super().__init__()
        self.way, self.scores = way, CosineScores()

    def forward(self, episode: Episode) -> Prediction:
        means = class_means(episode.support_x, episode.support_y, self.way)
        logits = self.scores(F.normalize(episode.query_x, dim=-1), means)
        return Prediction(logits, logits.new_zeros(()))


def build(
    channels: int,
    image_size: int,
    way: int,
    options: ProtoNetOptions,
    regularizer: Regularizer,
    generator: torch.Generator,
) -> ProtoNet:
    """Nearest centroids of `way` classes."""
    return ProtoNet(way)
