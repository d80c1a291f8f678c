"""Meta-LSTM's response to its gradient column."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from fewshot.optimizers.core import Response


class AffineInGradient(Response):
    """u(g') = u(g) - σ(i) (g' - g), with its derivative: the gates do not see g."""

    def __init__(self, update: Tensor, gradient: Tensor, learn: Tensor) -> None:
        """Of a step that has been taken.

        Args:
            update: u(g), [rows, 1].
            gradient: g, [rows, 1].
            learn: σ(i), [rows].
        """
        self._learn = learn[:, None]
        self._offset = update + self._learn * gradient

    def __call__(self, values: Tensor) -> Tensor:
        return self._offset - self._learn * values

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return self(values).detach(), lambda cotangent: -self._learn.detach() * cotangent
