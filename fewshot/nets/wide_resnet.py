"""Wide residual networks (Zagoruyko & Komodakis 2016), without dropout, as SIB's backbone (Hu et al. 2020)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.nets.blocks import FeatureNet, convolution

_SMALL = 32
"""Images of up to so many pixels keep their size in the first stage."""


class PreActivated(nn.Module):
    """Two 3×3 convolutions, each after batch normalization and ReLU, added to their input.

    Where the number of channels changes, the input is activated first and projected by a 1×1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), convolution(inputs, outputs, stride=stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), convolution(outputs, outputs)
        self.shortcut = convolution(inputs, outputs, size=1, stride=stride) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x), inplace=True)
        skipped = x if self.shortcut is None else self.shortcut(active)
        return skipped + self.conv2(F.relu(self.norm2(self.conv1(active)), inplace=True))


class WideResNet(FeatureNet):
    """Three stages of pre-activated blocks, then normalization, ReLU and the mean over the image.

    The first stage halves the image where it has more than 32 pixels, the second and third always do.
    """

    def __init__(self, channels: int, image_size: int, depth: int = 28, width: int = 10) -> None:
        """Make a WRN-`depth`-`width`.

        Args:
            channels: of the images.
            image_size: H = W, in pixels.
            depth: convolutional layers, 6 n + 4 for stages of n blocks.
            width: channels of the three stages are 16, 32 and 64 times this.
        """
        super().__init__()
        blocks = (depth - 4) // 6
        widths = (16, 16 * width, 32 * width, 64 * width)
        strides = (1 if image_size <= _SMALL else 2, 2, 2)
        self.stem = convolution(channels, widths[0])
        self.stages = nn.Sequential(
            *(_stage(i, o, blocks, stride) for (i, o), stride in zip(pairwise(widths), strides, strict=True))
        )
        self.norm = nn.BatchNorm2d(widths[-1])
        self.features = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.norm(self.stages(self.stem(images))), inplace=True).mean(dim=(2, 3))


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    later = (PreActivated(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(PreActivated(inputs, outputs, stride), *later)
