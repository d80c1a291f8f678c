"""One step of a core on many weights without a graph, some of them at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.stability import inverse_rms

BLOCK = 1 << 20
"""Weights that a core steps at a time: what bounds its memory on large networks."""
CPU_BLOCK = 1 << 14
"""On a CPU, where the intermediate results then stay in the cache; the last bits of a step depend on it."""


def blocks(rows: int, size: int) -> Iterator[slice]:
    """Slices of `size` rows, the last of what is left."""
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def block_size(device: torch.device) -> int:
    """Weights that a core steps at a time there."""
    return CPU_BLOCK if device.type == "cpu" else BLOCK


def lengths(weights: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """How many weights each tensor has, [networks, tensors] on the CPU, for weights [..., P]; None: P, one tensor."""
    own = [weights.shape[-1]] if sizes is None else list(sizes)
    return torch.tensor([own] * math.prod(weights.shape[:-1]), device="cpu")


def hidden_rows(core: CoordinatewiseOptimizer, lengths: Tensor) -> list[Tensor]:
    """The hidden state before the first step, each part [units, rows], as `advance` wants it.

    Args:
        core: see `CoordinatewiseOptimizer`.
        lengths: [networks, tensors], see there.
    """
    return [part.detach().T.contiguous() for part in core.begin(lengths)]


def advance(core: CoordinatewiseOptimizer, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
    """Step all weights; `hidden` moves on in place.

    Args:
        core: within its `unroll`.
        state: [..., P, F], the weights of several networks.
        hidden: each [units, rows], of all of them.

    Returns:
        The updates, [..., P].
    """
    rows = state.flatten(0, -2)
    if core.by_rows:
        own = hidden if core.independent_rows else hidden[:-1]
        pieces = blocks(len(rows), block_size(rows.device))
        parts = [core.advance_(rows[b].T, [h[:, b] for h in own]) for b in pieces]
        output = torch.cat(parts) if parts else rows.new_empty(0)
    else:
        output = core.advance_(rows.T, hidden)
    output = output.view(state.shape[:-1])
    if not core.update_rms:
        return output
    update, beside = output * inverse_rms(output, core.update_rms), core.beside(rows.T)
    return update if beside is None else update + beside.view_as(update)
