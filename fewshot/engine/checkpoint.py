"""Checkpoints: complete or absent, refused where a bit has changed, and read without executing what they contain."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.files import replacing

_SEAL = b"\nfewshot checkpoint 2 sha256 "
"""Begins the last line, which holds the hash of all before it; the file is one of torch.save all the same."""
_LENGTH = len(_SEAL) + 64 + 1
_REMEDY = "delete it or start over with --fresh"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts to `path`, completely or not at all.

    Raises:
        InputError: where the folder cannot be written, or the disk is full; what was at `path` is still there.
    """
    memory = io.BytesIO()  # torch's own writer neither reports nor survives a full disk
    torch.save(content, memory)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(memory.getbuffer())
        file.write(_SEAL + hashlib.sha256(memory.getbuffer()).hexdigest().encode() + b"\n")


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        InputError: where the file is damaged, holds anything but data, or is of another version of this program.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read ({error.strerror}); {_REMEDY}") from error
    content, seal = content[:-_LENGTH], content[-_LENGTH:]
    if not seal.startswith(_SEAL):
        raise InputError(f"checkpoint {path} is damaged, or of another version of this program; {_REMEDY}")
    if seal != _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n":
        raise InputError(f"checkpoint {path} is damaged (its content has another hash than it says); {_REMEDY}")
    try:
        return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (RuntimeError, EOFError, LookupError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"checkpoint {path} cannot be read ({reason[:120]}); {_REMEDY}") from error


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of a module's weights and buffers that later steps do not move."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
