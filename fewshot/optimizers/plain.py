"""A core computed by its equation and autograd alone: what everything in `fast` is tested and timed against."""

from __future__ import annotations

from torch import Tensor

from fewshot.optimizers.core import Hidden, NeuralOptimizer


class ByEquation(NeuralOptimizer):
    """The same optimizer, with the same parameters, without anything written for speed."""

    def __init__(self, core: NeuralOptimizer) -> None:
        super().__init__()
        self.core = core
        self.state_size, self.columns, self.smooth_columns = core.state_size, core.columns, core.smooth_columns
        self.independent_rows = core.independent_rows

    def init_hidden(self, rows: int) -> Hidden:
        return self.core.init_hidden(rows)

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        return self.core.equation(state, hidden)
