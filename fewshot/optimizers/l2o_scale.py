"""L2O-Scale: recurrent networks over each weight, over each tensor, and over the whole network, one above the other.

Olga Wichrowska et al., "Learned Optimizers that Scale and Generalize", ICML 2017, with the settings of their released
code. Otherwise than there, the network's level sees all tensors, and asinh is exact for negative numbers too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fewshot.optimizers.blocks import block_size, blocks
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer, check_hidden_size
from fewshot.optimizers.core import Hidden, Response, Step
from fewshot.optimizers.observe import Features, Memory
from fewshot.optimizers.stability import StabilityOptions
from fewshot.seeding import derive

SCALES = 4
INPUTS = 3 * SCALES
LARGEST_LOG_RATE = 33.0
RATES = 0.5 * math.log(1e-6), 0.5 * math.log(1e-2)
"""Of a weight, and of a tensor: initial log rates are the sum of two numbers drawn from there."""


@dataclass(frozen=True)
class L2OScaleOptions(StabilityOptions):
    """Options of L2O-Scale; the defaults are the authors' code's: 8 349 weights."""

    hidden_size: int = 10
    """Units of the network over each weight."""
    tensor_size: int = 20
    """Units of the network over each tensor."""
    network_size: int = 20
    """Units of the network over all tensors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden_size", "tensor_size", "network_size"):
            check_hidden_size(getattr(self, name), name)


class Averages(Features):
    """What L2O-Scale remembers of gradients: averages of them, and of their squares, on four scales of time."""

    size = INPUTS
    reads_weights = False

    def init(self, weights: Tensor) -> Memory:
        """(g_1 … g_4, m_1 … m_4), each [..., P]."""
        return tuple(torch.zeros_like(weights.detach()) for _ in range(2 * SCALES))


class Read(NamedTuple):
    """What the level of weights gives, each [..., rows]."""

    h: Tensor
    direction: Tensor
    log_rate: Tensor


class L2OScale(CoordinatewiseOptimizer):
    """u = -exp(l + o) δ / rms(δ), the root mean square over a tensor; δ and the log rate l are a weight's own.

    Hidden is, of every weight, the units h [rows, H] and [rows, 3]: the decays of the averages of gradients and of
    squares for the next step, and the log rate; of every tensor, its units, and those of the network, the same for all
    tensors of one; and lengths. A response holds at those of its step what is computed over rows.
    """

    Options = L2OScaleOptions
    columns = {"features": slice(0, INPUTS)}  # noqa: RUF012
    smooth_columns = "features"
    state_size, independent_rows, by_rows, tensor_parts = INPUTS, False, False, 2

    def __init__(self, generator: torch.Generator, options: L2OScaleOptions | None = None) -> None:
        super().__init__(generator, options)
        self.features = Averages()
        own, tensor, network = self.options.hidden_size, self.options.tensor_size, self.options.network_size
        self.weight_level = BiasedGRU(INPUTS, own, generator)
        self.tensor_level = BiasedGRU(own + INPUTS, tensor, generator)
        self.network_level = BiasedGRU(tensor, network, generator)
        self.tensor_to_weight = Affine(tensor, 3 * own, generator)
        self.network_to_weight = Affine(network, 3 * own, generator)
        self.network_to_tensor = Affine(network, 3 * tensor, generator)
        self.direction = nn.Parameter(_normal((1, own), 0.5, generator))
        self.square_decay = Affine(own, 1, generator, bias=3.2)
        self.decay = Affine(own, 1, generator, bias=2.2)
        self.gradients = nn.Parameter(0.25 + _normal((1, SCALES), 0.1, generator))
        self.rate_change = nn.Parameter(torch.zeros(own))
        self.rate_bias = nn.Parameter(torch.zeros(1))
        self.rate_offset = nn.Parameter(-torch.ones(1))
        self.rate_inertia = nn.Parameter(torch.full((1,), 3.2))
        self.starts = nn.ParameterList(
            nn.Parameter(torch.empty(size).uniform_(-1, 1, generator=generator)) for size in (own, tensor, network)
        )

    def init_hidden(self, rows: int) -> Hidden:
        return self.begin(torch.tensor([[rows]], device="cpu"))

    def begin(self, lengths: Tensor, seed: int = 0) -> Hidden:
        rows, tensors = int(lengths.sum()), lengths.numel()
        generator = torch.Generator("cpu").manual_seed(derive(seed, "log rates"))
        sizes = (int(lengths[0].sum()), lengths.shape[1])  # the same for all networks, whoever is beside them
        draws = (torch.empty(n, dtype=torch.float32, device="cpu").uniform_(*RATES, generator=generator) for n in sizes)
        of_rows, of_tensors = draws
        log_rate = (of_rows + of_tensors.repeat_interleave(lengths[0])).repeat(len(lengths)).to(self.starts[0])
        scalars = torch.stack([torch.zeros_like(log_rate), torch.zeros_like(log_rate), log_rate], dim=1)
        own, tensor, network = self.starts
        return own.repeat(rows, 1), scalars, tensor.repeat(tensors, 1), network.repeat(tensors, 1), lengths

    def observe(
        self, gradient: Tensor, weights: Tensor, memory: Memory, hidden: Hidden, mean_square: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        lengths, flat = hidden[-1], [part.flatten() for part in memory]
        decay, square_decay, log_rate = hidden[1].T
        g, averages, squares = gradient.flatten(), flat[:SCALES], flat[SCALES:]
        begun = self._spread(self._means(torch.stack(squares).amax(dim=0)[None], lengths) > 0, lengths)[0]
        square_decay, x, log_squares = torch.where(begun, square_decay, 0.0), [], []
        for i in range(SCALES):
            averages[i] = (1 - decay) * g + decay * averages[i]
            squares[i] = (1 - square_decay) * (averages[i].square() + 1e-12) + square_decay * squares[i]
            x.append(torch.asinh(averages[i] * (squares[i] + 1e-16).rsqrt()))
            log_squares.append((squares[i] + 1e-16).log())
            decay = decay.sqrt()
        products = [a * b for a, b in pairwise(x)]
        mean = torch.stack(log_squares).mean(dim=0)
        of_network = log_rate.view(len(lengths), -1)
        relative = (of_network - of_network.mean(dim=1, keepdim=True)).flatten()
        state = torch.stack([*x, *products, *(each - mean for each in log_squares), relative], dim=-1)
        return state.view(*gradient.shape, INPUTS), tuple(part.view_as(gradient) for part in (*averages, *squares))

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        step = self.step(state, hidden)
        return step.update, step.next_hidden

    def step(self, state: Tensor, hidden: Hidden) -> Step:
        h, scalars, tensors, network, lengths = hidden
        bias = self._spread(self.tensor_to_weight(tensors.T) + self.network_to_weight(network.T), lengths)
        read = self.read(state.T, h.T, scalars[:, 2], bias)
        scale = self._spread((self._means(read.direction.square()[None], lengths) + 1e-16).rsqrt(), lengths)[0]
        seen = self._means(torch.cat([read.h, state.T]), lengths)
        tensors, network = self._levels(seen, tensors.T, network.T, lengths)
        following = (read.h.T, self._scalars(read, scalars[:, 2]).T, tensors.T, network.T, lengths)
        return Step(state, hidden, self.update(read, scale), following, (bias.T, scale[:, None]))

    def advance_(self, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        """To rounding; of what the level of weights computes, a tensor has no more in memory than a block."""
        (h, scalars, tensors, network, of_networks), start = hidden, 0
        bias, update, seen = self.tensor_to_weight(tensors) + self.network_to_weight(network), [], []
        for column, size in enumerate(of_networks.T.flatten().tolist()):
            moves, sums, squares = [], state.new_zeros(len(h) + INPUTS), state.new_zeros(())
            for block in blocks(size, block_size(state.device)):
                rows = slice(start + block.start, start + block.stop)
                x = state[:, rows]
                read = self.read(x, h[:, rows], scalars[2, rows], bias[:, column : column + 1])
                h[:, rows], scalars[:, rows] = read.h, self._scalars(read, scalars[2, rows])
                moves.append(self.update(read, x.new_ones(()))[:, 0])
                sums, squares = sums + torch.cat([read.h, x]).sum(dim=1), squares + read.direction.square().sum()
            update += [move * (squares / size + 1e-16).rsqrt() for move in moves]
            seen.append(sums / max(1, size))
            start += size
        following = self._levels(torch.stack(seen, dim=1), tensors, network, of_networks.T)
        for part, new in zip((tensors, network), following, strict=True):
            part.copy_(new)
        return torch.cat(update) if update else state.new_empty(0)

    def response(self, step: Step, columns: slice) -> Response:
        bias, scale = step.known or self.step(step.state, step.hidden).known
        return _OfWeights(self, step, columns, bias, scale)

    def read(self, x: Tensor, h: Tensor, log_rate: Tensor, bias: Tensor) -> Read:
        """The level of weights.

        Args:
            x: [12, rows].
            h: [H, rows].
            log_rate: l of the step before, [rows].
            bias: from the levels above, [3 H, rows].
        """
        h = self.weight_level(x, h, bias)
        free = log_rate + self.rate_change @ h + self.rate_bias
        bounded = free + (free.clamp(-LARGEST_LOG_RATE, LARGEST_LOG_RATE) - free).detach()  # straight through
        return Read(h, (self.direction @ h + self.gradients @ x[:SCALES])[0], bounded)

    def update(self, read: Read, scale: Tensor) -> Tensor:
        """[rows, 1], from 1 / rms(δ) of each row's tensor, [rows]."""
        return (-(read.log_rate + self.rate_offset).exp() * read.direction * scale)[:, None]

    def _scalars(self, read: Read, log_rate: Tensor) -> Tensor:
        """The next decays and log rate, [3, rows]."""
        inertia = self.rate_inertia.sigmoid()
        log_rate = inertia * log_rate + (1 - inertia) * read.log_rate
        return torch.cat([self.decay(read.h).sigmoid(), self.square_decay(read.h).sigmoid(), log_rate[None]])

    def _levels(self, seen: Tensor, tensors: Tensor, network: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The next units of tensors and networks, each [units, networks · tensors].

        Args:
            seen: means over each tensor of h and inputs, [H + 12, networks · tensors].
            tensors: their units before.
            network: likewise.
            lengths: [networks, tensors].
        """
        tensors = self.tensor_level(seen, tensors, self.network_to_tensor(network))
        count = lengths.shape[1]
        seen = tensors.view(len(tensors), -1, count).mean(dim=2)
        return tensors, self.network_level(seen, network[:, ::count], None).repeat_interleave(count, dim=1)

    def _means(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Over each tensor: [units, rows] -> [units, networks · tensors]; zero where there are none."""
        sizes = lengths[0].tolist()
        parts = rows.view(len(rows), len(lengths), -1).split(sizes, dim=2)
        means = [part.sum(dim=2) / max(1, size) for part, size in zip(parts, sizes, strict=True)]
        return torch.stack(means, dim=2).flatten(1)

    def _spread(self, tensors: Tensor, lengths: Tensor) -> Tensor:
        """To the rows of each tensor: [units, networks · tensors] -> [units, rows]."""
        each = tensors.view(len(tensors), *lengths.shape)
        parts = [each[:, :, t : t + 1].expand(-1, -1, size) for t, size in enumerate(lengths[0].tolist())]
        return torch.cat(parts, dim=2).flatten(1)


class _OfWeights(Response):
    """The update as a function of each row's own inputs, what is computed over rows held fixed."""

    divisible = True

    def __init__(self, core: L2OScale, step: Step, columns: slice, bias: Tensor, scale: Tensor) -> None:
        self._core, self._step, self._columns, self._fixed = core, step, columns, (bias, scale)

    def __call__(self, values: Tensor) -> Tensor:
        x, (h, scalars, *_), (bias, scale) = self._step.moved_to(values, self._columns), self._step.hidden, self._fixed
        return self._core.update(self._core.read(x.T, h.T, scalars[:, 2], bias.T), scale[:, 0])

    def at(self, rows: Tensor) -> Response:
        step = self._step
        few = Step(step.state[rows], tuple(part[rows] for part in step.hidden[:2]), step.update[rows], ())
        return _OfWeights(self._core, few, self._columns, *(part[rows] for part in self._fixed))

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        with torch.no_grad():  # no graph of what is held fixed
            fixed = tuple(part.detach() for part in self._fixed)
        return Response(_OfWeights(self._core, self._step, self._columns, *fixed)).vjp(values)


class BiasedGRU(nn.Module):
    """A GRU cell whose gates and candidate get biases from outside: h' = u h + (1 - u) c."""

    def __init__(self, inputs: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.gates = nn.Parameter(_normal((2 * size, inputs + size), 0.5, generator))
        self.gates_bias = nn.Parameter(torch.full((2 * size,), 2.2))
        self.candidate = nn.Parameter(_normal((size, inputs + size), 0.5, generator))
        self.candidate_bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor, h: Tensor, bias: Tensor | None) -> Tensor:
        """The next h [H, rows] from x [inputs, rows], h, and biases [3 H, rows] of reset, update and candidate."""
        gates = torch.addmm(self.gates_bias[:, None], self.gates, torch.cat([x, h]))
        reset, keep = (gates if bias is None else gates + bias[: len(gates)]).sigmoid().chunk(2)
        candidate = torch.addmm(self.candidate_bias[:, None], self.candidate, torch.cat([x, reset * h]))
        candidate = (candidate if bias is None else candidate + bias[len(gates) :]).tanh()
        return candidate + keep * (h - candidate)


class Affine(nn.Module):
    """[inputs, rows] -> [outputs, rows]."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(_normal((outputs, inputs), 0.5, generator))
        self.bias = nn.Parameter(torch.full((outputs,), bias))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias[:, None], self.weight, x)


def _normal(shape: tuple[int, int], scale: float, generator: torch.Generator) -> Tensor:
    """N(0, scale² / inputs)."""
    return scale / math.sqrt(shape[1]) * torch.randn(shape, generator=generator)
