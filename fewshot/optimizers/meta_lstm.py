"""Meta-LSTM: an LSTM that learns how far each weight of a learner forgets itself and follows its gradient.

Sachin Ravi, Hugo Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewshot.optimizers.core import Hidden, NeuralOptimizer, Response, Step
from fewshot.optimizers.fast.meta_lstm import AffineInGradient, CellWeights, cell


class MetaLSTM(NeuralOptimizer):
    """w + u = σ(f) w - σ(i) g, the gates f and i from an LSTM over features of the loss and the gradient (section 3.2).

    A state row is four features (`log_sign` of the loss and of the gradient), the raw gradient g and the weight w. The
    gates see the features, the weight, and their own previous pre-activations, but not g: the update is affine in g, so
    the maximum of Eq. 3 over it is exactly ε² σ(i)².
    """

    state_size = 6
    columns = {"features": slice(0, 4), "gradient": slice(4, 5), "weight": slice(5, 6)}  # noqa: RUF012
    smooth_columns = "gradient"

    def __init__(
        self,
        generator: torch.Generator,
        hidden_size: int = 20,
        init_scale: float = 0.01,
        forget_bias: tuple[float, float] = (4.0, 5.0),
        input_bias: tuple[float, float] = (-5.0, -4.0),
    ) -> None:
        """Draw the initial parameters, with the defaults of Ravi & Larochelle's code.

        Args:
            generator: source of every draw.
            hidden_size: H, of the LSTM over features.
            init_scale: weights are uniform in ± this.
            forget_bias, input_bias: ranges of the gates' biases: remember almost everything, learn slowly.
        """
        super().__init__()

        def uniform(*shape: int, low: float = -init_scale, high: float = init_scale) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(low, high, generator=generator))

        self.hidden_size = hidden_size
        self.lstm_input = uniform(4, 4 * hidden_size)
        self.lstm_hidden = uniform(hidden_size, 4 * hidden_size)
        self.lstm_bias = uniform(4 * hidden_size)
        self.gates_hidden = uniform(hidden_size, 2)
        self.gates_weight = uniform(2)
        self.gates_previous = uniform(2)
        low, high = zip(forget_bias, input_bias, strict=True)
        self.gates_bias = nn.Parameter(
            torch.tensor(low) + (torch.tensor(high) - torch.tensor(low)) * torch.rand(2, generator=generator)
        )

    def init_hidden(self, rows: int) -> Hidden:
        """(h [rows, H], c [rows, H], previous gate pre-activations (f, i) [rows, 2]), all zero.

        Their memory is [units, rows], as everywhere inside.
        """
        zeros = self.lstm_bias.new_zeros
        return zeros(self.hidden_size, rows).T, zeros(self.hidden_size, rows).T, zeros(2, rows).T

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        weights = CellWeights.of(self)
        h, c, previous = (part.T for part in hidden)
        update, h, c, gates = cell(state.T, h, c, previous, weights)
        return update.T, (h.T, c.T, gates.T)

    def equation(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        h, c, previous = hidden
        lstm = torch.addmm(
            torch.addmm(self.lstm_bias, h, self.lstm_hidden), state[:, self.columns["features"]], self.lstm_input
        )
        gradient, weight = state[:, self.columns["gradient"]], state[:, self.columns["weight"]]
        take, keep, candidate, show = lstm.chunk(4, dim=1)
        c = keep.sigmoid() * c + take.sigmoid() * candidate.tanh()
        h = show.sigmoid() * c.tanh()
        gates = (
            torch.addmm(self.gates_bias, h, self.gates_hidden)
            + weight * self.gates_weight
            + previous * self.gates_previous
        )
        forget, learn = gates.sigmoid().split(1, dim=1)
        return (forget - 1) * weight - learn * gradient, (h, c, gates)

    def max_gap(self, step: Step, radius: float, columns: slice) -> Tensor | None:
        if columns != self.columns["gradient"]:
            return None
        return (radius * self._learn(step)).square()

    def response(self, step: Step, columns: slice) -> Response:
        if columns != self.columns["gradient"]:
            return super().response(step, columns)
        return AffineInGradient(step.update, step.state[:, columns], self._learn(step))

    def diagnostics(self, step: Step) -> dict[str, Tensor]:
        """Mean σ(i), the learned step size, and mean σ(f), how much of a weight is kept."""
        keep, size = step.next_hidden[2].detach().sigmoid().mean(dim=0)
        return {"step_size": size, "keep": keep}

    def _learn(self, step: Step) -> Tensor:
        """σ(i) of a step already taken: [rows]."""
        return step.next_hidden[2][:, 1].sigmoid()
