"""Backbones on disk: safetensors whose header says what they are, what they saw and what they must be fed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewshot.backbones.view import View
from fewshot.data.augment import Augment
from fewshot.errors import InputError
from fewshot.nets.backbone import empty_backbone
from fewshot.nets.blocks import FeatureNet, channels_last
from fewshot.weights_file import Kind, first_line, weights_sha256

_FILE = Kind(
    header="backbone",
    article="a backbone",
    remedy="make it again with `python -m benchmarks.pretrain`",
    foreign_remedy="weights from elsewhere come in by `python -m benchmarks.pretrain --import-weights FILE`",
)


@dataclass(frozen=True)
class BackboneInfo:
    """What a file of weights is."""

    backbone: str
    """Key of `BACKBONES`."""
    dataset: str
    """Name of the dataset whose training split it was trained on."""
    fingerprint: str
    """Of that dataset."""
    view: View
    """What it must be fed."""
    augment: Augment
    """What its training images went through before."""
    origin: str
    """Who trained it, in words."""
    sha256: str = ""
    """Of the weights: names, types, shapes and values."""

    @classmethod
    def from_json(cls, text: str) -> BackboneInfo:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        view, augment = (_tuples(values[name]) for name in ("view", "augment"))
        return cls(**{**values, "view": View(**view), "augment": Augment(**augment)})

    def to_json(self) -> str:
        """As JSON, for the header of the file."""
        return json.dumps(asdict(self), sort_keys=True)


def save_backbone(path: Path, weights: Mapping[str, Tensor], info: BackboneInfo) -> BackboneInfo:
    """Write weights and what they are, completely or not at all.

    Args:
        path: the file to write.
        weights: state dict of the backbone `info.backbone`.
        info: its `sha256` is filled in here.

    Returns:
        `info` with the hash of the weights.

    Raises:
        InputError: where the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    info = replace(info, sha256=weights_sha256(tensors))
    _FILE.write(path, tensors, info.to_json())
    return info


def load_backbone(path: Path, device: torch.device | str = "cpu") -> tuple[FeatureNet, BackboneInfo]:
    """Read a backbone, frozen and in eval mode, on `device`.

    Returns:
        The network, [B, C, crop, crop] -> [B, D], and what it is.

    Raises:
        InputError: where the file is absent, damaged, or no backbone.
    """
    header, weights = _FILE.read(path)
    info = _info(path, header)
    if weights_sha256(weights) != info.sha256:
        raise InputError(f"{path} is damaged: its weights have another hash than its header says; {_FILE.remedy}")
    net = empty_backbone(info.backbone, info.view.channels, info.view.crop)
    try:
        net.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise InputError(f"{path} does not hold a {info.backbone} ({first_line(error)}); {_FILE.remedy}") from error
    return channels_last(net.to(device)).eval().requires_grad_(False), info


def read_info(path: Path) -> BackboneInfo:
    """What the file says it is; its weights are not read. Errors as `load_backbone`."""
    return _info(path, _FILE.read_header(path))


def _info(path: Path, header: str) -> BackboneInfo:
    try:
        return BackboneInfo.from_json(header)
    except (KeyError, ValueError, TypeError, InputError) as error:
        raise _FILE.foreign(path) from error


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
