"""Checkpoints: complete or absent, and read without executing anything they contain."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.files import replacing

CHECKPOINT_VERSION = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts to `path`, completely or not at all."""
    with replacing(path) as temporary:
        torch.save({"version": CHECKPOINT_VERSION, **content}, temporary)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        InputError: where the file is damaged, holds anything but data, or is of another version.
    """
    remedy = "delete it or start over with --fresh"
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"checkpoint {path} cannot be read ({reason[:120]}); {remedy}") from error
    if not isinstance(content, dict) or content.get("version") != CHECKPOINT_VERSION:
        found = content.get("version") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"checkpoint {path} has version {found}, this program reads {CHECKPOINT_VERSION}; {remedy}")
    return content


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of a module's weights and buffers that later steps do not move."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
