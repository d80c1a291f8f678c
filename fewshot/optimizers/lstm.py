"""The LSTM cell of optimizers of network weights.

`nn.LSTM` does the same sums, but cannot hand out their recurrent part, which all evaluations at one step share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewshot.nets.functional import uniform_fan_in
from fewshot.optimizers.fast.gates import gates
from fewshot.optimizers.fast.in_place import gates_


class LSTMCell(nn.Module):
    """An LSTM cell with one bias vector and gates in torch's order: input, forget, candidate, output.

    Initially the weights are uniform in ±1/√H as in `nn.LSTMCell`, and the biases zero but for the forget gate's, which
    are one, as in the published optimizers (Sonnet and TensorFlow add that one outside).
    """

    def __init__(self, inputs: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.size = size
        self.input = nn.Parameter(uniform_fan_in((4 * size, inputs), size, generator))
        self.recurrent = nn.Parameter(uniform_fan_in((4 * size, size), size, generator))
        self.bias = nn.Parameter(torch.cat([torch.zeros(size), torch.ones(size), torch.zeros(2 * size)]))

    def known(self, h: Tensor) -> Tensor:
        """What the gates get from the previous output h [H, rows]: [4 H, rows]."""
        return torch.addmm(self.bias[:, None], self.recurrent, h)

    def forward(self, x: Tensor, c: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """From the input x [inputs, rows], the previous cell state c [H, rows] and `known` to the next h and c."""
        return gates(torch.addmm(known, self.input, x), c)

    def advance_(self, x: Tensor, h: Tensor, c: Tensor) -> None:
        """`known` and `forward` without a graph: h and c [H, rows] are the next ones afterwards."""
        pre = self.known(h)
        gates_(torch.addmm(pre, self.input, x, out=pre), h, c)

    def equation(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The next h and c [rows, H] from x [rows, inputs], h and c, in the simplest torch."""
        take, keep, candidate, show = (x @ self.input.T + h @ self.recurrent.T + self.bias).chunk(4, dim=-1)
        c = keep.sigmoid() * c + take.sigmoid() * candidate.tanh()
        return show.sigmoid() * c.tanh(), c
