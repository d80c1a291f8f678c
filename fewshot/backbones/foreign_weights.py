"""State dicts of other people's backbones, in our names.

Known: WRN-28-10 and Conv4-64 as the code of Hu et al. (hushell/sib_meta_learn, `networks.py`) names them, ResNet-12 as
that of Lee et al. (kjunelee/MetaOptNet) does, and our own names; inside the wrappers that checkpoints put around them,
and with the classifier that was trained on top, which is left out.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fewshot.errors import InputError
from fewshot.nets.backbone import empty_backbone

_RENAMED = (
    (r"^conv1\.", "stem."),
    (r"^bn1\.", "norm."),
    (r"^block(\d)\.layer\.(\d)\.bn(\d)\.", r"block\1.layer.\2.norm\3."),
    (r"^block(\d)\.layer\.(\d)\.convShortcut\.", r"block\1.layer.\2.shortcut."),
    (r"^block1\.layer\.", "stages.0."),
    (r"^block2\.layer\.", "stages.1."),
    (r"^block3\.layer\.", "stages.2."),
    (r"^conv_blocks\.(\d)\.layers\.Conv\.", r"blocks.\1.0."),
    (r"^conv_blocks\.(\d)\.layers\.BatchNorm\.", r"blocks.\1.1."),
    *((rf"^layer{number}\.(?:0\.(?=[a-z]+\d?\.))?", f"blocks.{number - 1}.") for number in range(1, 5)),
    (r"^(blocks\.\d)\.bn(\d)\.", r"\1.norm\2."),
    (r"^(blocks\.\d)\.downsample\.0\.", r"\1.shortcut."),
    (r"^(blocks\.\d)\.downsample\.1\.", r"\1.shortcut_norm."),
    (r"^(\d)\.([01])\.", r"blocks.\1.\2."),
)
_INSIDE = ("state_dict", "model_state_dict", "params", "model_state", "model", "net", "network", "backbone", "encoder")
"""Where a checkpoint keeps the state dict, in the order in which to look."""
_AROUND = re.compile(r"^(module|encoder|backbone|feature_extractor|feature|net|network|model|f)\.")
_HEAD = re.compile(r"(fc|classifier\w*|head|linear\w*|cls\w*|logits?|temperature|scale\w*|projector|proto\w*)(\.|$)")
_NO_WEIGHTS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the weights: fetch them with `git lfs pull`"),
    (rb"(\xef\xbb\xbf)?\s*<", "a web page, not the weights: download the file itself"),
    (rb"(\xef\xbb\xbf)?\s*[{\[]", "a text of a server, not the weights: download the file itself"),
    (rb"$", "empty: download it again"),
)


def import_weights(path: Path, backbone: str, channels: int, image_size: int) -> dict[str, Tensor]:
    """Read a state dict that `torch.save` or safetensors wrote, without executing anything it contains.

    Args:
        path: the file.
        backbone: key of `BACKBONES`, which the weights must fit.
        channels: of the images.
        image_size: H = W of what the network sees.

    Returns:
        The weights by our names, on the CPU, of the backbone's own shapes and types.

    Raises:
        InputError: where the file cannot be read, holds anything but tensors, values that are no numbers, or does not
            fit the backbone.
    """
    expected = empty_backbone(backbone, channels, image_size).state_dict()
    weights = _ours(_state_dict(path), expected)
    for name in expected:
        if name.endswith("num_batches_tracked"):  # absent from files of torch < 0.4.1, and of no effect
            weights.setdefault(name, torch.zeros((), dtype=torch.long))
    _compare(path, backbone, expected, weights)
    for name in expected:
        _check_values(path, name, weights[name], expected[name])
    return {name: weights[name].to(tensor.dtype).clone() for name, tensor in expected.items()}


def translate(name: str) -> str:
    """Our name of a weight."""
    name = name.removeprefix("module.")
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _ours(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by our names, out of the networks around them and without a classifier on top."""
    while True:
        translated = {translate(name): tensor for name, tensor in weights.items()}
        inner = {_AROUND.sub("", name): tensor for name, tensor in weights.items() if _AROUND.match(name)}
        if translated.keys() & expected.keys() or not inner:
            return {name: tensor for name, tensor in translated.items() if name in expected or not _HEAD.match(name)}
        weights = inner | {name: tensor for name, tensor in weights.items() if not _AROUND.match(name)}


def _state_dict(path: Path) -> Mapping[str, Tensor]:
    if not path.exists():
        raise InputError(f"cannot import {path}: there is no such file; give the path of a state dict")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
        for signature, what in _NO_WEIGHTS:
            if re.match(signature, head) and path.suffix != ".safetensors":
                raise InputError(f"cannot import {path}: it is {what}")
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from error
    except (pickle.UnpicklingError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    return _unwrapped(path, content)


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return InputError(f"cannot import {path}: not a file of tensors alone ({reason}); save a state dict")


def _unwrapped(path: Path, content: Any) -> dict[str, Tensor]:
    while isinstance(content, dict) and not any(isinstance(value, Tensor) for value in content.values()):
        content = next((content[key] for key in _INSIDE if isinstance(content.get(key), dict)), None)
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"cannot import {path}: it is not a state dict (names and tensors); save `net.state_dict()`")
    return {str(name): tensor for name, tensor in content.items()}


def _compare(path: Path, backbone: str, expected: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    wrong = [name for name in expected if name not in tensors or tensors[name].shape != expected[name].shape]
    wrong += [name for name in tensors if name not in expected]
    if wrong:
        raise InputError(
            f"cannot import {path}: {len(wrong)} weights are missing, unknown or of another shape than in {backbone}"
            f" ({', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''}); choose the backbone it was trained for"
        )


def _check_values(path: Path, name: str, tensor: Tensor, wanted: Tensor) -> None:
    if tensor.is_meta:
        raise InputError(f"cannot import {path}: {name} has no values (device meta); save the weights themselves")
    if (
        tensor.layout != torch.strided
        or tensor.is_quantized
        or tensor.is_floating_point() != wanted.is_floating_point()
    ):
        raise InputError(f"cannot import {path}: {name} is {tensor.dtype}, {tensor.layout}; save plain {wanted.dtype}")
    if not torch.isfinite(tensor).all():
        raise InputError(f"cannot import {path}: {name} holds NaN or infinity; its training failed: take another one")
