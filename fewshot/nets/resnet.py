"""torchvision's ResNet-18 for small images, as a function of one flat weight vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fewshot.nets.blocks import initialize
from fewshot.nets.functional import FlatLayout, uniform_fan_in
from fewshot.nets.small import FlatNet
from fewshot.vision import models


class ResNet18(FlatNet):
    """ResNet-18 with a 3×3 stem of stride 1 and no max-pooling.

    Batch normalization uses the statistics of the batch at hand, in evaluation too: running statistics would be a state
    beside the weights, which no optimizer here sees. Evaluation batches hold all classes.
    """

    def __init__(self, classes: int) -> None:
        with torch.device("meta"):
            net = models.resnet18(num_classes=classes, norm_layer=_batch_statistics)
            net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        net.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self._net = net
        self.layout = FlatLayout({name: tuple(p.shape) for name, p in net.named_parameters()})

    def init(self, generator: torch.Generator) -> Tensor:
        """Convolutions as He et al. 2015 (fan-out), the linear layer as torch's default."""
        net = self._net.to_empty(device="cpu")
        initialize(net, generator)
        with torch.no_grad():
            for parameter in (net.fc.weight, net.fc.bias):
                parameter.copy_(uniform_fan_in(tuple(parameter.shape), net.fc.in_features, generator))
            flat = self.layout.flatten(dict(net.named_parameters()))
        self._net.to("meta")
        return flat

    def scores(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        return torch.func.functional_call(self._net, dict(weights), (inputs,))


def _batch_statistics(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, track_running_stats=False)
