"""Networks in bfloat16: their convolutions and products, nothing else.

What goes in and comes out is float32, and so are weights, gradients, statistics of batch norm, and everything that is
no network: optimizers, penalties, meta-parameters.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.nets.small import FlatNet

Precision = Literal["fp32", "bf16"]
EMULATE = "FEWSHOT_EMULATE_BF16"
"""Environment variable that allows bfloat16 where it is emulated, if it is 1."""


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Within this context, convolutions and products on `device` are of this precision; outputs may be bfloat16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def check_precision(precision: Precision, device: torch.device) -> None:
    """Refuse bfloat16 where it would be emulated: GPUs before Ampere, CPUs without AVX512-BF16 or AMX.

    Raises:
        InputError: then, unless `EMULATE` is set.
    """
    if precision == "bf16" and not _in_hardware(device) and os.environ.get(EMULATE) != "1":
        lacks = "is older than Ampere" if device.type == "cuda" else "has neither AVX512-BF16 nor AMX"
        raise InputError(
            f"precision is bf16, but this {device.type} {lacks} and would emulate it, slowly; use --precision fp32,"
            f" or set {EMULATE}=1 to compute it all the same"
        )


def _in_hardware(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    features = getattr(torch.cpu, "get_capabilities", dict)()  # new in torch 2.10
    return any(features.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


class InBfloat16(FlatNet):
    """A network as it is, but for its precision."""

    def __init__(self, net: FlatNet) -> None:
        self.net, self.layout, self.stackable = net, net.layout, net.stackable

    def init(self, generator: torch.Generator) -> Tensor:
        return self.net.init(generator)

    def scores(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        with autocast("bf16", inputs.device):
            return self.net.scores(weights, inputs).float()

    def stacked(self, weights: Tensor, inputs: Tensor) -> Tensor:
        with autocast("bf16", inputs.device):
            return self.net.stacked(weights, inputs).float()
