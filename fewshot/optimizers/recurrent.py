"""What recurrent optimizers of network weights share: the parts that do not depend on the state are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.nets.functional import uniform_fan_in
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.core import Hidden, Response, Step
from fewshot.optimizers.fast import native
from fewshot.optimizers.fast.recurrent import RecurrentResponse
from fewshot.optimizers.lstm import LSTMCell


class RecurrentOptimizer(CoordinatewiseOptimizer):
    """u = read(x, known(hidden), hidden): a recurrent network whose recurrent part all evaluations at a step share.

    Inside, all tensors are [units, rows]; outside they are [rows, units] as everywhere, as views of the same memory.
    """

    smooth_columns = "features"

    def known(self, hidden: Hidden) -> Hidden:
        """The parts of pre-activations that come from memory, each [units, rows]; hidden is [rows, units]."""
        raise NotImplementedError

    def read(self, x: Tensor, known: Hidden, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """The rest of the step: state [F, rows] -> update [1, rows], and the next hidden, each [rows, units]."""
        raise NotImplementedError

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        step = self.step(state, hidden)
        return step.update, step.next_hidden

    def step(self, state: Tensor, hidden: Hidden) -> Step:
        known = self.known(hidden)
        update, next_hidden = self.read(state.T, known, hidden)
        return Step(state, hidden, update.T, next_hidden, known)

    def response(self, step: Step, columns: slice) -> Response:
        return RecurrentResponse(self, step, columns)

    def _zeros(self, units: int, rows: int) -> Tensor:
        """[rows, units] whose memory is [units, rows]."""
        return next(self.parameters()).new_zeros(units, rows).T


class TwoLayers(RecurrentOptimizer):
    """Two LSTM layers of H units and a linear output: what DMOptimizer and RNNprop share.

    A subclass says what goes into the first layer and what becomes of the output.
    """

    def __init__(self, generator: torch.Generator, options: Any, inputs: int) -> None:
        """Draw the initial parameters.

        Args:
            generator: source of every draw.
            options: with `hidden_size`.
            inputs: units that enter the first layer.
        """
        super().__init__(generator, options)
        size = self.options.hidden_size
        self.first, self.second = LSTMCell(inputs, size, generator), LSTMCell(size, size, generator)
        self.output = nn.Parameter(uniform_fan_in((1, size), size, generator))
        self.output_bias = nn.Parameter(torch.zeros(1))

    def layers(self, x: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """Both layers and the output in the simplest torch: x [rows, inputs] -> [rows, 1], and the next hidden."""
        h1, c1 = self.first.equation(x, *hidden[:2])
        h2, c2 = self.second.equation(h1, *hidden[2:])
        return h2 @ self.output.T + self.output_bias, (h1, c1, h2, c2)

    def prepare(self, x: Tensor) -> Tensor:
        """From the state [F, rows] to the first layer's input [inputs, rows]."""
        return x

    def finish(self, output: Tensor) -> Tensor:
        """From the output layer's values to updates, both [1, rows]."""
        raise NotImplementedError

    def init_hidden(self, rows: int) -> Hidden:
        """(h, c of the first layer, h, c of the second), each [rows, H], zero."""
        return tuple(self._zeros(self.options.hidden_size, rows) for _ in range(4))

    def known(self, hidden: Hidden) -> Hidden:
        return self.first.known(hidden[0].T), self.second.known(hidden[2].T)

    def advance_(self, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        h1, c1, h2, c2 = hidden
        self.first.advance_(self.prepare(state), h1, c1)
        self.second.advance_(h1, h2, c2)
        return self.finish(torch.addmm(self.output_bias[:, None], self.output, h2))[0]

    def native_layers(self, entry: tuple[Tensor, Tensor] | None = None) -> native.NativeStep | None:
        """`native_step` for those whose `prepare` is a linear layer with ELU, or nothing."""
        layers = [(layer.input, layer.recurrent, layer.bias) for layer in (self.first, self.second)]
        step = native.two_layers(layers, (self.output, self.output_bias), entry)
        return None if step is None else lambda state, hidden: self.finish(step(state, hidden)[None])[0]

    def read(self, x: Tensor, known: Hidden, hidden: Hidden) -> tuple[Tensor, Hidden]:
        h1, c1 = self.first(self.prepare(x), hidden[1].T, known[0])
        h2, c2 = self.second(h1, hidden[3].T, known[1])
        output = torch.addmm(self.output_bias[:, None], self.output, h2)
        return self.finish(output), (h1.T, c1.T, h2.T, c2.T)
