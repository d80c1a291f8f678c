"""Where a command runs."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

import torch

from fewshot.errors import InputError
from fewshot.nets.precision import Precision, check_precision


def choose_device(name: str, precision: Precision = "fp32") -> torch.device:
    """The device to run on, with torch set to repeat itself bit for bit, and the process to `keep_freed_memory`.

    Raises:
        InputError: where cuda is asked for and there is none, or the device would emulate `precision`.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda is not available here; use --device cpu or auto")
    device = torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
    check_precision(precision, device)
    keep_freed_memory()
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)
    return device


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, for what it allocates next (glibc; elsewhere nothing happens).

    Tensors of some MB otherwise come from the system page by page, and go back, at every step: a fifth of an episode
    of Meta-LSTM. The peak stays what it is.
    """
    if sys.platform != "linux":
        return
    mallopt, mmap_threshold, trim_threshold = getattr(ctypes.CDLL(None), "mallopt", None), -3, -1  # of malloc.h
    if mallopt is not None and (mallopt(mmap_threshold, 1 << 30) or mallopt(mmap_threshold, 1 << 25)):
        mallopt(trim_threshold, (1 << 31) - 1)


def device_name(device: torch.device) -> str:
    """What a command ran on, in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"
