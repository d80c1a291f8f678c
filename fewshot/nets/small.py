"""Small networks as functions of one flat weight vector: what optimizers of network weights are meta-trained on.

Layouts are those of Xiong & Hsieh's published code. Weights start as torch initializes linear and convolutional layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.nets.functional import FlatLayout, uniform_fan_in


class FlatNet:
    """A classifier without weights of its own."""

    layout: FlatLayout
    stackable: bool = False
    """Whether `stacked` is known. Convolutions gain nothing from it: grouped ones are slower on CPUs."""

    def init(self, generator: torch.Generator) -> Tensor:
        """Initial flat weights [P], on the CPU."""
        shapes = self.layout.shapes
        weights = {
            name: uniform_fan_in(shape, math.prod(shapes[f"{name.split('.')[0]}.weight"][1:]), generator)
            for name, shape in shapes.items()
        }
        return self.layout.flatten(weights)

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Flat weights [P] and a batch of inputs -> scores [B, classes]."""
        return self.scores(self.layout.unflatten(weights), inputs)

    def scores(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """The same from weights by name."""
        raise NotImplementedError

    def stacked(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Several networks at once: weights [N, P] and the inputs of each [N, B, ...], or [1, B, ...] of all ->
        scores [N, B, classes]."""
        raise NotImplementedError


def _layers(**shapes: tuple[int, ...]) -> FlatLayout:
    """Layers with a bias each, from the shapes of their weights."""
    return FlatLayout({f"{name}.{kind}": s for name, w in shapes.items() for kind, s in _kinds(w)})


def _kinds(shape: tuple[int, ...]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return ("weight", shape), ("bias", shape[:1])


class MLP(FlatNet):
    """inputs - hidden - classes with one ReLU: 784-32-10 has 25 450 weights."""

    stackable = True

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        self.layout = _layers(linear0=(hidden, inputs), linear1=(classes, hidden))

    def scores(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        w = weights
        hidden = F.linear(inputs.flatten(1), w["linear0.weight"], w["linear0.bias"]).relu()
        return F.linear(hidden, w["linear1.weight"], w["linear1.bias"])

    def stacked(self, weights: Tensor, inputs: Tensor) -> Tensor:
        w = self.layout.unflatten(weights)
        inputs = inputs.flatten(2).mT  # columns are examples, so that gradients come out as the weights lie
        bias0, bias1 = w["linear0.bias"].unsqueeze(-1), w["linear1.bias"].unsqueeze(-1)
        if len(inputs) == len(weights):
            hidden = torch.baddbmm(bias0, w["linear0.weight"], inputs)
        else:
            hidden = (w["linear0.weight"] @ inputs[0]).add_(bias0)  # one large product
        return torch.baddbmm(bias1, w["linear1.weight"], hidden.relu()).mT


class DigitsCNN(FlatNet):
    """Two 3×3 convolutions of 16 filters with strides 1 and 2, no padding, for 8×8 images: 3 130 weights."""

    def __init__(self, classes: int = 10) -> None:
        self.layout = _layers(conv0=(16, 1, 3, 3), conv1=(16, 16, 3, 3), linear=(classes, 64))

    def scores(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        w = weights
        x = F.conv2d(inputs, w["conv0.weight"], w["conv0.bias"]).relu()
        x = F.conv2d(x, w["conv1.weight"], w["conv1.bias"], stride=2).relu()
        return F.linear(x.flatten(1), w["linear.weight"], w["linear.bias"])


class LeNet(FlatNet):
    """Two 5×5 convolutions of 10 and 20 filters with pooling, then 320-50-classes, for 28×28 images: 21 840 weights.

    Without the published code's dropout: with it, the gradient that an optimizer sees and the loss that it is judged by
    would come from different networks.
    """

    def __init__(self, classes: int = 10) -> None:
        self.layout = _layers(conv0=(10, 1, 5, 5), conv1=(20, 10, 5, 5), linear0=(50, 320), linear1=(classes, 50))

    def scores(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        w, x = weights, inputs
        for layer in ("conv0", "conv1"):
            x = F.max_pool2d(F.conv2d(x, w[f"{layer}.weight"], w[f"{layer}.bias"]), 2).relu()
        x = F.linear(x.flatten(1), w["linear0.weight"], w["linear0.bias"]).relu()
        return F.linear(x, w["linear1.weight"], w["linear1.bias"])


class ThreeLayerCNN(FlatNet):
    """Three 3×3 convolutions of 32 filters with strides 2, 2, 1, no padding, for 32×32 RGB images: 20 682 weights."""

    _strides = (2, 2, 1)

    def __init__(self, classes: int = 10) -> None:
        self.layout = _layers(conv0=(32, 3, 3, 3), conv1=(32, 32, 3, 3), conv2=(32, 32, 3, 3), linear=(classes, 128))

    def scores(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        w, x = weights, inputs.contiguous(memory_format=torch.channels_last)  # 1.4 times as fast on CPUs
        for i, stride in enumerate(self._strides):
            x = F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"], stride=stride).relu()
        return F.linear(F.avg_pool2d(x, 2).flatten(1), w["linear.weight"], w["linear.bias"])
