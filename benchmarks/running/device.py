"""Where a command runs."""

from __future__ import annotations

import os
import platform

import torch

from fewshot.errors import InputError


def choose_device(name: str) -> torch.device:
    """The device to run on, with torch set to repeat itself bit for bit.

    Raises:
        InputError: where cuda is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda is not available here; use --device cpu or auto")
    device = torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)
    return device


def device_name(device: torch.device) -> str:
    """What a command ran on, in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"
