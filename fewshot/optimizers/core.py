"""The contract of every neural optimizer.

A neural optimizer is one small network applied to *rows*: `core(state, hidden) -> (update, hidden)`. A row is one
weight of the optimizee (general training, Meta-LSTM) or one query example (SIB). The core never sees networks, losses,
datasets or episodes; whoever calls it observes (builds the state) and applies (uses the update).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Hidden = tuple[Tensor, ...]
"""The memory of a core, first axis rows; `()` for a core without memory."""


class Step(NamedTuple):
    """One application of a core: what went in and what came out."""

    state: Tensor
    """[rows, state_size]"""
    hidden: Hidden
    update: Tensor
    """[rows, update_size]"""
    next_hidden: Hidden
    known: Hidden = ()
    """What the core computed on the way that does not depend on the state: `response` need not compute it again."""

    def at(self, rows: Tensor) -> Step:
        """The same step of some rows alone, by index; of memory, only what it began with."""
        return Step(self.state[rows], tuple(part[rows] for part in self.hidden), self.update[rows], ())

    def moved_to(self, values: Tensor, columns: slice) -> Tensor:
        """The state with `values` in place of its `columns`."""
        if values.shape[-1] == self.state.shape[-1]:
            return values
        return torch.cat([self.state[..., : columns.start], values, self.state[..., columns.stop :]], dim=-1)


def squared_distance(update: Tensor, other: Tensor) -> Tensor:
    """||u - u'||² of every row: [..., rows, O] twice -> [..., rows]."""
    return (update - other).square().sum(dim=-1)


class Response:
    """The update as a function of some state columns, everything else held fixed.

    The default differentiates by autograd. A core that knows its derivative in closed form overrides `vjp`, and one
    that can put a graph on what it has evaluated without overrides `farther`.
    """

    divisible: bool = False
    """Whether `at` is known."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def at(self, rows: Tensor) -> Response:
        """The response of some rows, by index: what smoothness goes on with where the others are done."""
        raise NotImplementedError

    def __call__(self, values: Tensor) -> Tensor:
        """Values of the chosen columns [rows, c] -> updates [rows, O]."""
        return self._function(values)

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The updates at `values`, and their vector-Jacobian product; neither has a graph.

        Args:
            values: [rows, c].

        Returns:
            Updates [rows, O], and a function to be called once: cotangent [rows, O] -> [rows, c].
        """
        with torch.enable_grad():
            values = values.detach().requires_grad_()
            update = self(values)
        return update.detach(), lambda cotangent: torch.autograd.grad(update, values, cotangent)[0]

    def farther(self, low: Tensor, high: Tensor, update: Tensor) -> Tensor:
        """Of the updates at two values, each row's own farther from `update`; the choice is a constant.

        Args:
            low: [rows, c], chosen where both are equally far.
            high: [rows, c].
            update: [rows, O].

        Returns:
            [rows, O], with a graph if gradients are enabled.
        """
        with torch.no_grad():
            choose_high = squared_distance(self(high), update) > squared_distance(self(low), update)
        return self(torch.where(choose_high.unsqueeze(-1), high, low))


class NeuralOptimizer(nn.Module):
    """Base class of all cores.

    A subclass sets the attributes below and implements `forward`, and `init_hidden` if it has memory. `max_gap`,
    `response` and `diagnostics` are opportunities: what a core knows of itself that makes regularizing exact or fast.
    """

    state_size: int
    """F, columns of a state row."""
    columns: Mapping[str, slice]
    """Named parts of a state row, for example {"features": slice(0, 4), "gradient": slice(4, 5)}."""
    smooth_columns: str = "all"
    """The part that smoothness perturbs unless told otherwise; a name in `columns`, or "all"."""
    independent_rows: bool = True
    """Whether a row's update depends on that row alone. Where it does not, states may be [groups, rows, F], and all
    else likewise: rows depend on each other within a group, never across."""

    def init_hidden(self, rows: int) -> Hidden:
        """The memory of `rows` rows before the first inner step."""
        return ()

    def forward(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """One inner step for every row; pure: no buffer and no attribute changes.

        Args:
            state: [rows, F].
            hidden: from `init_hidden` or the previous step.

        Returns:
            The update [rows, O], which is *added* to what is optimized, and the next hidden.
        """
        raise NotImplementedError

    def equation(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """`forward` in the simplest torch, as the paper has it, where `forward` itself is written for speed."""
        return self(state, hidden)

    def step(self, state: Tensor, hidden: Hidden) -> Step:
        """`forward`, with all that `response` can make use of."""
        return Step(state, hidden, *self(state, hidden))

    @contextlib.contextmanager
    def unroll(self) -> Iterator[None]:
        """Within this context, reparametrized weights are computed once instead of at every use.

        Enter it anew for every truncation, and after every change of the parameters; what it computes has a graph if
        gradients are enabled when it is entered. Weights that are plain parameters cost nothing.
        """
        with parametrize.cached():
            for module in self.modules():
                for name in getattr(module, "parametrizations", {}):
                    getattr(module, name)
            yield

    def effective_weights(self) -> dict[str, Tensor]:
        """The weights that updates are computed with, under their names before any reparametrization."""
        weights = {}
        for path, module in self.named_modules():
            if not isinstance(module, parametrize.ParametrizationList):
                names = [*dict(module.named_parameters(recurse=False)), *getattr(module, "parametrizations", {})]
                weights.update({f"{path}.{name}".lstrip("."): getattr(module, name) for name in names})
        return weights

    def max_gap(self, step: Step, radius: float, columns: slice) -> Tensor | None:
        """Exact maximum of ||u(s) - u(s')||² over the l∞ ball of `radius` in `columns` (Eq. 3), or None if unknown.

        Returns:
            [rows], differentiable with respect to the core's parameters.
        """
        return None

    def response(self, step: Step, columns: slice) -> Response:
        """The update as a function of `columns` alone.

        A core overrides this where the part of its computation that does not depend on `columns` can be done once.
        """

        return Response(lambda values: self(step.moved_to(values, columns), step.hidden)[0])

    def diagnostics(self, step: Step) -> dict[str, Tensor]:
        """Scalars worth plotting over inner steps, by name (for example the mean learned step size); no graph."""
        return {}

    def column_slice(self, name: str) -> slice:
        """The state columns called `name`; "all" is always known."""
        return slice(0, self.state_size) if name == "all" else self.columns[name]
