"""Smoothness of a neural optimizer: the largest change of its update within a small ball around the state.

Yuanhao Xiong, Cho-Jui Hsieh, "Learning to Learn with Smooth Regularization", 2022, Eqs. 3, 6, 7 and Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fewshot.errors import InputError, one_of
from fewshot.optimizers.core import NeuralOptimizer, Response, Step, squared_distance
from fewshot.regularizers.base import Regularizer, RowOptions, check_at_least

MAXIMA = ("auto", "exact", "pgd", "endpoints")


@dataclass(frozen=True)
class SmoothOptions(RowOptions):
    """Options of smoothness."""

    radius: float = 1.0
    """Perturbation strength ε: the radius of the l∞ ball around a state."""
    columns: str = "default"
    """Which part of the state is perturbed: default (what the optimizer declares), all, or a part it names."""
    maximum: Literal["auto", "exact", "pgd", "endpoints"] = "auto"
    """How the inner maximum of Eq. 3 is found; auto: exact where the optimizer knows it, else pgd."""
    pgd_steps: int = 10
    """K, steps of projected gradient ascent (authors' code; the paper gives none)."""
    pgd_step_size: float = 0.2
    """η₁ as a fraction of the radius (authors' code: ε/5)."""
    pgd_start: float = 0.05
    """Standard deviation of the starting noise (Algorithm 1; authors' code: 0.01)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("penalty.maximum", self.maximum, MAXIMA)
        check_at_least(self, radius=0, pgd_steps=1, pgd_step_size=0, pgd_start=0)


class Smoothness(Regularizer):
    """R = max over s' with ||s' - s||∞ ≤ ε of ||u(s) - u(s')||², the hidden state fixed (Eq. 3)."""

    Options = SmoothOptions

    def __init__(self, options: SmoothOptions | None = None) -> None:
        super().__init__(options)
        self._generator: torch.Generator | None = None
        self._seed = 0

    def attach(self, core: NeuralOptimizer) -> NeuralOptimizer:
        if self.options.columns != "default":
            one_of("penalty.columns", self.options.columns, ["default", "all", *core.columns])
        columns = self._columns(core)
        if self.options.maximum == "exact" and not self._knows_maximum(core, columns):
            raise InputError(
                f"penalty.maximum is exact, but {type(core).__name__} knows no exact maximum over the columns "
                f"{self.options.columns!r}; use auto, pgd, or other penalty.columns"
            )
        if self.options.maximum == "endpoints" and columns.stop - columns.start != 1:
            raise InputError(
                f"penalty.maximum is endpoints, which needs one perturbed column, but penalty.columns "
                f"{self.options.columns!r} has {columns.stop - columns.start}; use auto or pgd, or other columns"
            )
        return core

    def reseed(self, seed: int) -> None:
        self._seed, self._generator = seed, None

    def per_row(self, core: NeuralOptimizer, step: Step) -> Tensor:
        """The (approximate) maximum of ||u(s) - u(s')||² of every row: [..., rows], differentiable in the parameters.

        Where rows depend on each other (`core.independent_rows` is False) all of them are perturbed together, to
        maximize the sum of their gaps.
        """
        columns = self._columns(core)
        if self.options.maximum in ("auto", "exact"):
            exact = core.max_gap(step, self.options.radius, columns)
            if exact is not None:
                return exact
        response = core.response(step, columns)
        center, update = step.state[..., columns].detach(), step.update.detach()
        if self.options.maximum == "endpoints":
            moved = response.farther(center - self.options.radius, center + self.options.radius, update)
        else:
            with torch.no_grad():
                perturbed = self._ascend(response, center, update)
            moved = response(perturbed)
        return squared_distance(moved, step.update)

    def _ascend(self, response: Response, center: Tensor, update: Tensor) -> Tensor:
        """Eq. 7: K sign steps up ||u(s) - u(s')||² from a noisy start, projected onto the ball after each."""
        options = self.options
        low, high = center - options.radius, center + options.radius
        noise = torch.randn(center.shape, generator=self._own_generator(center.device), device=center.device)
        values = torch.clamp(center + options.pgd_start * noise.to(center), low, high)
        return self._climb(response, values, low, high, update, options.pgd_steps)

    def _climb(
        self, response: Response, values: Tensor, low: Tensor, high: Tensor, update: Tensor, steps: int
    ) -> Tensor:
        """`steps` steps from `values` within low … high.

        A row that has not moved in one step never moves again. Most come to rest at a border of the ball when half of
        the steps are left: where the response is divisible, only the other rows take those.
        """
        stride = self.options.pgd_step_size * self.options.radius
        for left in reversed(range(steps)):
            moved, pull = response.vjp(values)
            before, ascent = values, pull(moved - update).sign()
            values = torch.clamp(values.add(ascent, alpha=stride), low, high)
            if left and response.divisible:
                rows = (values != before).any(dim=-1).nonzero()[:, 0]
                if 2 * len(rows) < len(values):
                    rest = response.at(rows)
                    values[rows] = self._climb(rest, values[rows], low[rows], high[rows], update[rows], left)
                    break
        return values

    def _columns(self, core: NeuralOptimizer) -> slice:
        return core.column_slice(core.smooth_columns if self.options.columns == "default" else self.options.columns)

    def _knows_maximum(self, core: NeuralOptimizer, columns: slice) -> bool:
        if type(core).max_gap is NeuralOptimizer.max_gap:
            return False
        with torch.no_grad():
            state = next(core.parameters()).new_zeros(2, core.state_size)
            hidden = core.init_hidden(2)
            return core.max_gap(Step(state, hidden, *core(state, hidden)), self.options.radius, columns) is not None

    def _own_generator(self, device: torch.device) -> torch.Generator:
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self._seed)
        return self._generator
