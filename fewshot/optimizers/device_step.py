"""One step of the parameters that lie on one device."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fewshot.optimizers import blocks
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.fast.native import NativeStep
from fewshot.optimizers.observe import Memory
from fewshot.optimizers.parameter_state import StateBuffers
from fewshot.optimizers.shards import Groups, groups_of, local, local_gradient


class Move(NamedTuple):
    """A parameter that moves, and how."""

    parameter: nn.Parameter
    lr: float
    weight_decay: float
    maximize: bool


class DeviceStep:
    """The gradient of some parameters in one piece, and what becomes of it: features, updates, and moved weights.

    All vectors [n] are of the weights of `moves`, one after another.
    """

    def __init__(
        self, core: CoordinatewiseOptimizer, advance: NativeStep, buffers: StateBuffers, moves: list[Move]
    ) -> None:
        """Gather the gradient.

        Args:
            core: on the device.
            advance: its `advance_`, or what stands for it.
            buffers: with the states of the parameters.
            moves: what is to move, in the order of `buffers`.
        """
        self._core, self._buffers, self._moves = core, buffers, moves
        self._advance_rows = advance
        self._sizes = [buffers.places[m.parameter].stop - buffers.places[m.parameter].start for m in moves]
        parts = [(local_gradient(move.parameter), move) for move in moves]
        self._flat = buffers.vector[: sum(self._sizes)]
        torch.cat([_vector(-g if m.maximize else g) for g, m in parts if g is not None], out=self._flat)
        self._bad: Tensor | None = None
        self._beside: Tensor | None = None

    def leave_out_nonfinite(self) -> None:
        """Take the step without the weights whose gradient is not finite, or so large that its square is not."""
        self._bad = ~self._flat.square().isfinite()
        self._flat.masked_fill_(self._bad, 0)

    def squares(self, process_group: Any) -> Iterator[tuple[Groups, float, float]]:
        """How parameters are divided, and of those, the sum of squares of the gradient and the number of weights."""
        kinds = [groups_of(move.parameter, process_group) for move in self._moves]
        if len(set(kinds)) == 1:
            yield kinds[0], *_sums(self._flat, self._bad)
            return
        bad = [None] * len(kinds) if self._bad is None else self._bad.split(self._sizes)
        for kind, part, left_out in zip(kinds, self._flat.split(self._sizes), bad, strict=True):
            yield kind, *_sums(part, left_out)

    def advance(self, mean_square: float) -> None:
        """Move the states; the outputs of the core are then where the gradient was.

        Args:
            mean_square: of the gradient of all weights of the network.
        """
        with self._core.unroll():
            if self._core.by_rows:
                self._advance(torch.tensor([mean_square], dtype=torch.float32, device=self._flat.device))
            else:
                self._advance_at_once()

    def scale(self, mean_square: float) -> None:
        """Bring the outputs to the root mean square that the core wants.

        Args:
            mean_square: of the outputs of all weights of the network.
        """
        least = torch.finfo(self._flat.dtype).tiny
        self._flat.mul_(self._core.update_rms / math.sqrt(max(mean_square, least)))
        if self._beside is not None:
            self._flat.add_(self._beside)

    def move(self) -> None:
        """Move the weights by the updates."""
        for move, update in zip(self._moves, self._flat.split(self._sizes), strict=True):
            weights = local(move.parameter)
            if move.weight_decay:
                weights.mul_(max(0.0, 1 - move.lr * move.weight_decay))
            weights.add_(update.view_as(weights), alpha=move.lr)

    def _advance(self, mean_square: Tensor) -> None:
        """Put the updates into the place of the gradient; the states move on."""
        features, flat, still = self._core.features, self._flat, self._still()
        weights = self._weights()
        whole = self._observed_at_once(weights) if features.needs == "network" else None
        for place, here in self._blocks():
            memory = [part[place] for part in self._buffers.memory]
            hidden = [part[:, place] for part in self._buffers.hidden]
            with _standing_still(None if still is None else still[here], memory, hidden, flat[here]) as moving:
                if not moving:
                    continue
                if whole is None:
                    state, following = self._core.observe(flat[here], weights[here], tuple(memory), (), mean_square)
                else:
                    state, following = whole[0][here], [part[here] for part in whole[1]]
                for part, new in zip(memory, following, strict=True):
                    part.copy_(new)
                flat[here] = _advanced(self._advance_rows, state.T, hidden)
                self._keep_beside(state.T, here, len(flat))
        self._keep_still(still)

    def _advance_at_once(self) -> None:
        """The same for a core that must see all rows that move at once, with what belongs to whole tensors."""
        buffers, runs, weights = self._buffers, self._runs(), self._weights()
        of_rows = (*buffers.memory, *buffers.hidden)
        gathered = [torch.cat([part[..., run] for run in runs], dim=-1) for part in of_rows]
        still, parts = self._still(), [*gathered, self._flat]
        sizes, keep = self._sizes, None if self._bad is None else (~self._bad).nonzero()[:, 0]
        if self._bad is not None:
            weights, *parts = [part[..., keep] for part in (weights, *parts)]
            sizes = [int(own.logical_not().sum()) for own in self._bad.split(self._sizes)]
        self._step_at_once(parts, weights, sizes, still if still is None or keep is None else still[keep])
        for part, new in zip((*gathered, self._flat), parts, strict=True):
            if keep is not None:
                part[..., keep] = new
        for part, new in zip(of_rows, gathered, strict=True):
            for run, piece in zip(runs, new.split([run.stop - run.start for run in runs], dim=-1), strict=True):
                part[..., run] = piece
        if self._beside is not None and keep is not None:
            self._beside = torch.zeros_like(self._flat).index_copy_(0, keep, self._beside)

    def _step_at_once(self, parts: list[Tensor], weights: Tensor, sizes: list[int], still: Tensor | None) -> None:
        """Step rows, each of the parts [..., rows]: memory of the features, hidden, and the gradient, then outputs."""
        core, columns = self._core, self._buffers.columns(move.parameter for move in self._moves)
        cut = len(self._buffers.memory)
        memory, hidden, flat = parts[:cut], parts[cut:-1], parts[-1]
        tensors = [part[:, columns] for part in self._buffers.tensors]
        lengths = torch.tensor(sizes, dtype=torch.int64, device="cpu")[:, None]
        with _standing_still(still, memory, hidden, flat) as moving:
            if not moving:
                return
            whole = *(part.float().T for part in hidden), *(part.T for part in tensors), lengths.T
            state, following = core.observe(flat, weights, tuple(memory), whole)
            for part, new in zip(memory, following, strict=True):
                part.copy_(new)
            flat.copy_(_advanced(lambda rows, own: core.advance_(rows, [*own, *tensors, lengths]), state.T, hidden))
            self._keep_beside(state.T, slice(None), len(flat))
        for part, new in zip(self._buffers.tensors, tensors, strict=True):
            part[:, columns] = new
        self._keep_still(still)

    def _keep_beside(self, state: Tensor, here: slice, rows: int) -> None:
        """Keep what is added to the outputs once they are scaled, for a state [F, rows] of some of the weights."""
        beside = self._core.beside(state) if self._core.update_rms else None
        if beside is not None:
            self._beside = self._flat.new_zeros(rows) if self._beside is None else self._beside
            self._beside[here] = beside

    def _keep_still(self, still: Tensor | None) -> None:
        if self._beside is not None and still is not None:
            self._beside.masked_fill_(still, 0)

    def _weights(self) -> Tensor:
        """Those of `moves` [n], or something of their shape where they are not read."""
        if not self._core.features.reads_weights:
            return self._flat
        return torch.cat([_vector(local(move.parameter)) for move in self._moves])

    def _observed_at_once(self, weights: Tensor) -> tuple[Tensor, Memory]:
        """The state columns of all weights, and their next memory."""
        runs = self._runs()
        memory = tuple(torch.cat([part[run] for run in runs]) for part in self._buffers.memory)
        return self._core.observe(self._flat, weights, memory, ())

    def _still(self) -> Tensor | None:
        """Which weights stand still [n]: those that are left out, or have had no gradient but zero; None: none do."""
        buffers, still = self._buffers, self._bad
        if buffers.seen is None or buffers.all_seen:
            return still
        for run, nonzero in zip(
            self._runs(), (self._flat != 0).split([r.stop - r.start for r in self._runs()]), strict=True
        ):
            buffers.seen[run].masked_fill_(nonzero, 1)
        unseen = torch.cat([buffers.seen[run] for run in self._runs()]) == 0
        buffers.all_seen = bool(buffers.seen.all())
        if not unseen.any():
            return still
        return unseen if still is None else unseen | still

    def _runs(self) -> list[slice]:
        """Where the weights lie in the buffers."""
        return self._buffers.runs(move.parameter for move in self._moves)

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Pieces of the weights: where they lie in the buffers, and in the vectors here."""
        start, size = 0, blocks.block_size(self._flat.device)
        for run in self._runs():
            for block in blocks.blocks(run.stop - run.start, size):
                place = slice(run.start + block.start, run.start + block.stop)
                yield place, slice(start + block.start, start + block.stop)
            start += run.stop - run.start


@contextlib.contextmanager
def without_autocast(devices: Iterable[torch.device]) -> Iterator[None]:
    """Nothing is computed in another type than it says, on devices of these."""
    with contextlib.ExitStack() as stack:
        for kind in {device.type for device in devices} - {"meta"}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _advanced(advance: NativeStep, state: Tensor, hidden: list[Tensor]) -> Tensor:
    """The updates [rows] for a state [F, rows]; hidden, each [units, rows] and of any type, moves on."""
    exact = [part.float() for part in hidden]
    update = advance(state, exact)
    for part, new in zip(hidden, exact, strict=True):
        if part.dtype != new.dtype:
            part.copy_(new)
    return update


@contextlib.contextmanager
def _standing_still(still: Tensor | None, memory: list[Tensor], hidden: list[Tensor], update: Tensor) -> Iterator[bool]:
    """Within this context memory and hidden move on and updates are written; afterwards those of `still` are as before.

    Gives whether any row moves; where none does, nothing need be done.
    """
    count = 0 if still is None else int(still.sum())
    if still is None or count == 0:
        yield True
        return
    if count == len(still):
        update.zero_()
        yield False
        return
    parts = [*memory, *hidden]
    before = [part.clone() for part in parts]
    yield True
    for part, old in zip(parts, before, strict=True):
        torch.where(still, old, part, out=part)
    update.masked_fill_(still, 0)


def _vector(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1).float()


def _sums(gradient: Tensor, bad: Tensor | None) -> tuple[float, int]:
    """The sum of squares and the number of weights, without those that are left out, whose gradient is zero here."""
    dtype = torch.float32 if gradient.device.type == "mps" else torch.float64
    squares = [part.square().sum(dtype=dtype) for part in gradient.split(blocks.block_size(gradient.device))]
    return float(torch.stack(squares).sum()), len(gradient) - (0 if bad is None else int(bad.sum()))
