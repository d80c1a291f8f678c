"""State dicts of other people's backbones, in our names.

Known: WRN-28-10 and Conv4-64 as the code of Hu et al. (hushell/sib_meta_learn, `networks.py`) names them, with or
without the prefix of `DataParallel`, and our own names.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.nets.backbone import empty_backbone

_RENAMED = (
    (r"^module\.", ""),
    (r"^conv1\.", "stem."),
    (r"^bn1\.", "norm."),
    (r"^block(\d)\.layer\.(\d)\.bn(\d)\.", r"block\1.layer.\2.norm\3."),
    (r"^block(\d)\.layer\.(\d)\.convShortcut\.", r"block\1.layer.\2.shortcut."),
    (r"^block1\.layer\.", "stages.0."),
    (r"^block2\.layer\.", "stages.1."),
    (r"^block3\.layer\.", "stages.2."),
    (r"^conv_blocks\.(\d)\.layers\.Conv\.", r"blocks.\1.0."),
    (r"^conv_blocks\.(\d)\.layers\.BatchNorm\.", r"blocks.\1.1."),
)


def import_weights(path: Path, backbone: str, channels: int, image_size: int) -> dict[str, Tensor]:
    """Read a state dict that `torch.save` wrote, without executing anything it contains.

    Args:
        path: the file.
        backbone: key of `BACKBONES`, which the weights must fit.
        channels: of the images.
        image_size: H = W of what the network sees.

    Returns:
        The weights by our names, on the CPU.

    Raises:
        InputError: where the file cannot be read, holds anything but tensors, or does not fit the backbone.
    """
    expected = empty_backbone(backbone, channels, image_size).state_dict()
    tensors = {translate(name): tensor for name, tensor in _state_dict(path).items()}
    for name in expected:
        if name.endswith("num_batches_tracked"):  # absent from files of torch < 0.4.1, and of no effect
            tensors.setdefault(name, torch.zeros((), dtype=torch.long))
    _compare(path, backbone, expected, tensors)
    return {name: tensors[name].to(tensor.dtype) for name, tensor in expected.items()}


def translate(name: str) -> str:
    """Our name of a weight."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"cannot import {path}: not a file of tensors alone ({reason}); save a state dict") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"cannot import {path}: it is not a state dict (names and tensors); save `net.state_dict()`")
    return content


def _compare(path: Path, backbone: str, expected: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    wrong = [name for name in expected if name not in tensors or tensors[name].shape != expected[name].shape]
    wrong += [name for name in tensors if name not in expected]
    if wrong:
        raise InputError(
            f"cannot import {path}: {len(wrong)} weights are missing, unknown or of another shape than in {backbone}"
            f" ({', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''}); choose the backbone it was trained for"
        )
