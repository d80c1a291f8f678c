"""ResNet-12 in the widths of MetaOptNet (Lee et al. 2019): 64, 160, 320, 640; without its DropBlock."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.nets.blocks import FeatureNet, convolution

_WIDTHS = (64, 160, 320, 640)
_SLOPE = 0.1


class Residual(nn.Module):
    """Three 3×3 convolutions with batch normalization and leaky ReLU around a 1×1 shortcut, then 2×2 max-pooling."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = convolution(outputs, outputs), nn.BatchNorm2d(outputs)
        self.conv3, self.norm3 = convolution(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut, self.shortcut_norm = convolution(inputs, outputs, size=1), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.norm1(self.conv1(x)), _SLOPE)
        y = F.leaky_relu(self.norm2(self.conv2(y)), _SLOPE)
        y = self.norm3(self.conv3(y)) + self.shortcut_norm(self.shortcut(x))
        return F.leaky_relu(F.max_pool2d(y, 2), _SLOPE)  # increasing, so it may follow the pooling


class ResNet12(FeatureNet):
    """Four residual blocks and the mean over what is left of the image."""

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        widths = (channels, *_WIDTHS)
        self.blocks = nn.Sequential(*(Residual(*pair) for pair in pairwise(widths)))
        self.features = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(images).mean(dim=(2, 3))
