"""Conv4-64, the four-block network of ProtoNets (Snell et al. 2017) and of SIB's smaller experiments."""

from __future__ import annotations

from torch import Tensor, nn

from fewshot.nets.blocks import FeatureNet, convolution

_FILTERS = 64
_BLOCKS = 4


class Conv4Features(FeatureNet):
    """Four times 3×3 convolution with 64 filters, batch normalization, ReLU and 2×2 max-pooling, flattened.

    Features: 64 times the pixels left, (image_size // 16)².
    """

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        inputs = (channels, *[_FILTERS] * (_BLOCKS - 1))
        self.blocks = nn.Sequential(*(_block(i) for i in inputs))
        self.features = _FILTERS * (image_size >> _BLOCKS) ** 2

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(images).flatten(1)


def _block(inputs: int) -> nn.Sequential:
    # ReLU after the pooling gives the same values and gradients at a quarter of the cost.
    return nn.Sequential(convolution(inputs, _FILTERS), nn.BatchNorm2d(_FILTERS), nn.MaxPool2d(2), nn.ReLU())
