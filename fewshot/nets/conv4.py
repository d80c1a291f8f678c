"""The four-block convolutional learner of the few-shot literature, as a function of flat weights.

Ravi & Larochelle 2017: four times 3×3 convolution with 32 filters, batch normalization, ReLU, 2×2 max-pooling; then a
linear layer to the classes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.errors import InputError
from fewshot.nets.functional import FlatLayout, uniform_fan_in

BLOCKS = 4
RunningStatistics = list[tuple[Tensor, Tensor]]
"""Running mean and variance of every block, each [filters], of N networks [N · filters]."""


class Conv4:
    """The network's shape; weights and batch-norm statistics are arguments."""

    def __init__(
        self,
        channels: int,
        image_size: int,
        way: int,
        filters: int = 32,
        norm_momentum: float = 0.95,
        norm_eps: float = 1e-3,
    ) -> None:
        """Lay out the weights.

        Args:
            channels: of the images.
            image_size: H = W, in pixels; at least 16.
            way: classes told apart.
            filters: of every convolution.
            norm_momentum: share of the newest batch in the running statistics, as torch defines momentum.
            norm_eps: added to the variance.

        Raises:
            InputError: where four halvings leave nothing of the image.
        """
        side = image_size >> BLOCKS
        if side < 1:
            raise InputError(
                f"images of {image_size} pixels are too small for {BLOCKS} halvings; at least {1 << BLOCKS} are needed"
            )
        self.image_size, self.filters = image_size, filters
        self.norm_momentum, self.norm_eps = norm_momentum, norm_eps
        shapes: dict[str, tuple[int, ...]] = {}
        for block in range(BLOCKS):
            shapes[f"conv{block}.weight"] = (filters, channels if block == 0 else filters, 3, 3)
            shapes |= {
                f"conv{block}.bias": (filters,),
                f"norm{block}.weight": (filters,),
                f"norm{block}.bias": (filters,),
            }
        shapes |= {"linear.weight": (way, filters * side * side), "linear.bias": (way,)}
        self.layout = FlatLayout(shapes)

    def init(self, generator: torch.Generator) -> Tensor:
        """Initial flat weights [P], distributed as torch initializes these layers."""
        weights = {}
        for name, shape in self.layout.shapes.items():
            layer, kind = name.split(".")
            if layer.startswith("norm"):
                weights[name] = torch.full(shape, 1.0 if kind == "weight" else 0.0)
            else:
                fan_in = math.prod(self.layout.shapes[f"{layer}.weight"][1:])
                weights[name] = uniform_fan_in(shape, fan_in, generator)
        return self.layout.flatten(weights)

    def init_statistics(self, like: Tensor) -> RunningStatistics:
        """Running statistics before the first batch, for weights `like` these: mean 0, variance 1."""
        channels = math.prod(like.shape[:-1]) * self.filters
        return [(like.new_zeros(channels), like.new_ones(channels)) for _ in range(BLOCKS)]

    def __call__(
        self, flat: Tensor, images: Tensor, statistics: RunningStatistics | None = None, update: bool = False
    ) -> Tensor:
        """Classify images: by one network, or by several at once, whose convolutions are groups of one.

        Args:
            flat: weights [P], or [N, P].
            images: float [B, C, H, W], or [N, B, C, H, W].
            statistics: running statistics to normalize with; None normalizes with the batch's own.
            update: normalize with the batch's own statistics, and move `statistics` towards them in place.

        Returns:
            Logits [B, way], or [N, B, way].
        """
        w, groups, x = self.layout.unflatten(flat), math.prod(flat.shape[:-1]), images
        if flat.ndim == 2:
            w = {name: values.flatten(0, 1) for name, values in w.items()}
            x = images.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        for block in range(BLOCKS):
            x = F.conv2d(x, w[f"conv{block}.weight"], w[f"conv{block}.bias"], padding=1, groups=groups)
            mean, variance = statistics[block] if statistics is not None else (None, None)
            x = F.batch_norm(
                x,
                mean,
                variance,
                w[f"norm{block}.weight"],
                w[f"norm{block}.bias"],
                training=statistics is None or update,
                momentum=self.norm_momentum,
                eps=self.norm_eps,
            )
            x = F.max_pool2d(x, 2).relu()  # same values and gradients as ReLU first, at a quarter of the cost
        if flat.ndim == 1:
            return F.linear(x.flatten(1), w["linear.weight"], w["linear.bias"])
        weight, bias = (w[f"linear.{kind}"].unflatten(0, (groups, -1)) for kind in ("weight", "bias"))
        return torch.baddbmm(bias[:, None], x.unflatten(1, (groups, -1)).transpose(0, 1).flatten(2), weight.mT)
