"""MAML on Conv4-64, by learn2learn: a reference row without a neural optimizer.

Chelsea Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.data.interchange import learn2learn
from fewshot.data.preprocess import to_unit
from fewshot.errors import InputError
from fewshot.learners.base import Prediction
from fewshot.nets.backbone import build_backbone
from fewshot.nets.functional import uniform_fan_in
from fewshot.nets.precision import Precision, autocast
from fewshot.regularizers.base import Regularizer

if TYPE_CHECKING:
    from fewshot.data.episodes import Episode


@dataclass(frozen=True)
class MAMLOptions:
    """Options of MAML; the defaults are Finn et al.'s for miniImageNet."""

    steps: int = 5
    """Gradient steps on the support in meta-training."""
    test_steps: int = 10
    """Gradient steps on the support in evaluation."""
    rate: float = 0.01
    """Learning rate of those steps."""
    first_order: bool = False
    """Leave second derivatives out of the meta-gradient."""

    def __post_init__(self) -> None:
        for name in ("steps", "test_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"learner.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.rate < float("inf"):
            raise InputError(f"learner.rate is {self.rate}; it must be positive and finite")


class MAMLLearner(nn.Module):
    """Takes gradient steps on the support from learned initial weights.

    Batch norm always takes the statistics of the batch at hand, that of all queries included, as in Finn et al.'s
    code: transductive.
    """

    transductive = True
    precision: Precision = "fp32"

    def __init__(self, net: nn.Module, options: MAMLOptions) -> None:
        """Make `net` adaptable.

        Raises:
            InputError: where learn2learn is not installed.
        """
        super().__init__()
        self.options = options
        self.maml: Any = learn2learn().algorithms.MAML(net, lr=options.rate, first_order=options.first_order)

    def forward(self, episode: Episode) -> Prediction:
        images, options = to_unit(episode.support_x), self.options
        with torch.enable_grad():
            adapted = self.maml.clone(first_order=options.first_order or not self.training)
            for _ in range(options.steps if self.training else options.test_steps):
                adapted.adapt(F.cross_entropy(self._scores(adapted, images), episode.support_y))
        logits = self._scores(adapted, to_unit(episode.query_x))
        return Prediction(logits, logits.new_zeros(()))

    def _scores(self, net: nn.Module, images: Tensor) -> Tensor:
        with autocast(self.precision, images.device):
            return net(images).to(images.dtype)


def build(
    channels: int, image_size: int, way: int, options: MAMLOptions, regularizer: Regularizer, generator: torch.Generator
) -> MAMLLearner:
    """A fresh MAML learner for images of `image_size` pixels."""
    body = build_backbone("conv4_64", channels, image_size, generator)
    for module in body.modules():  # batch norm always takes the batch's own statistics
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    head: nn.Linear = nn.utils.skip_init(nn.Linear, body.features, way)  # pyright: ignore[reportAssignmentType]
    with torch.no_grad():
        head.weight.copy_(uniform_fan_in((way, body.features), body.features, generator))
        head.bias.zero_()
    return MAMLLearner(nn.Sequential(body, head), options)
