"""What all backbones are made of, and how they are initialized."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


class FeatureNet(nn.Module):
    """A network from images, float [B, C, H, W], to features, float [B, features]."""

    features: int

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> features [B, features]."""
        raise NotImplementedError


def convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the image's size at stride 1; no bias, since a batch normalization follows."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def initialize(net: nn.Module, generator: torch.Generator) -> None:
    """Fill the weights as He et al. 2015: convolutions normal with variance 2 / fan-out, normalizations the identity.

    Every backbone here was published with this initialization. Nothing is drawn but from `generator`.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def channels_last(net: N) -> N:
    """`net` with its weights in the memory order that convolutions are fastest in, CPUs included."""
    return net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # missing in torch's stubs
