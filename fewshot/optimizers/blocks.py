"""One step of a core on many weights without a graph, some of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer

CPU_BLOCK, DEVICE_BLOCK = 1 << 14, 1 << 20
"""Weights that a core steps at a time: its intermediate results then stay in a CPU's cache, or in a device's memory."""


def blocks(rows: int, device: torch.device) -> Iterator[slice]:
    """Slices of about the same size, none over what the device takes at a time, that make up `rows` rows."""
    count = -(-rows // (CPU_BLOCK if device.type == "cpu" else DEVICE_BLOCK))
    size = -(-rows // max(count, 1))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, max(size, 1)))


def hidden_rows(core: CoordinatewiseOptimizer, rows: int) -> list[Tensor]:
    """The hidden state of `rows` weights before the first step, each [units, rows], as `advance` wants it."""
    return [part.T.contiguous() for part in core.init_hidden(rows)]


def advance(core: CoordinatewiseOptimizer, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
    """Step all weights; `hidden` moves on in place.

    Args:
        state: [P, F].
        hidden: each [units, P].

    Returns:
        The updates, [P].
    """
    parts = [core.advance_(state[b].T, [h[:, b] for h in hidden]) for b in blocks(len(state), state.device)]
    return torch.cat(parts) if parts else state.new_empty(0)
