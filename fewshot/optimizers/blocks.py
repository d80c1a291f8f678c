"""One step of a core on many weights without a graph, some of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer

BLOCK = 1 << 20
"""Weights that a core steps at a time: what bounds its memory on large networks."""
CPU_BLOCK = 1 << 14
"""On a CPU, where the intermediate results then stay in the cache; the last bits of a step depend on it."""


def blocks(rows: int, size: int) -> Iterator[slice]:
    """Slices of `size` rows, the last of what is left."""
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def hidden_rows(core: CoordinatewiseOptimizer, rows: int) -> list[Tensor]:
    """The hidden state of `rows` weights before the first step, each [units, rows], as `advance` wants it."""
    return [part.T.contiguous() for part in core.init_hidden(rows)]


def advance(core: CoordinatewiseOptimizer, state: Tensor, hidden: Sequence[Tensor], block: int = BLOCK) -> Tensor:
    """Step all weights; `hidden` moves on in place.

    Args:
        core: within its `unroll`.
        state: [P, F].
        hidden: each [units, P].
        block: weights at a time.

    Returns:
        The updates, [P].
    """
    parts = [core.advance_(state[b].T, [h[:, b] for h in hidden]) for b in blocks(len(state), block)]
    return torch.cat(parts) if parts else state.new_empty(0)
