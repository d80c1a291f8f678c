"""Backbones by name. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fewshot.errors import InputError
from fewshot.nets.blocks import FeatureNet, initialize
from fewshot.nets.conv4_64 import Conv4Features
from fewshot.nets.resnet12 import ResNet12
from fewshot.nets.wide_resnet import WideResNet
from fewshot.registry import Registry

SMALLEST_IMAGE = 16
BACKBONES: Registry[Callable[[int, int], FeatureNet]] = Registry("backbone")
"""Constructors: (channels, image_size) -> network."""
BACKBONES.register("conv4_64", Conv4Features)
BACKBONES.register("resnet12", ResNet12)
BACKBONES.register("wrn_28_10", WideResNet)


def build_backbone(name: str, channels: int, image_size: int, generator: torch.Generator) -> FeatureNet:
    """A freshly initialized backbone on the CPU.

    Args:
        name: a key of `BACKBONES`.
        channels: of the images.
        image_size: H = W of what the network sees, in pixels; at least 16.
        generator: where its weights are drawn from.

    Raises:
        InputError: for an unknown name, or images that are too small.
    """
    net = empty_backbone(name, channels, image_size).to_empty(device="cpu")
    initialize(net, generator)
    return net


def empty_backbone(name: str, channels: int, image_size: int) -> FeatureNet:
    """A backbone without weights, on torch's "meta" device; errors as `build_backbone`."""
    build = BACKBONES.find(name)
    if image_size < SMALLEST_IMAGE:
        raise InputError(f"images of {image_size} pixels are too small for a backbone; give at least {SMALLEST_IMAGE}")
    with torch.device("meta"):  # torch's own initialization would move the global generator
        return build(channels, image_size)
