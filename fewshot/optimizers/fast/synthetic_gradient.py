"""φ of synthetic gradients: batch norm as layer norm, and its response with a derivative by hand.

Batch norm of [rows, units] over the rows of a group is a layer norm of [units, rows] without gain and offset, for which
torch has one kernel forward and one backward; gains and offsets go into the next layer's weights once an unroll.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fewshot.optimizers.core import Response

NORM_EPS = 1e-5


def unit_rows(x: Tensor) -> Tensor:
    """[..., rows, F] as [F, all rows]: what batch norm averages over then lies side by side, and is a layer norm."""
    return x.reshape(-1, x.shape[-1]).T


class ScoresResponse(Response):
    """φ with its derivative in closed form, for ascents of smoothness."""

    def __init__(self, function: Callable[[Tensor], Tensor], folded: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Of some weights.

        Args:
            function: φ, where a graph is wanted.
            folded: its layers, as `SyntheticGradient.folded` gives them.
        """
        super().__init__(function)
        with torch.no_grad():
            *self._layers, (self._weight, self._bias) = [(w.detach(), b.detach()[:, None]) for w, b in folded]

    def vjp(self, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        rows, x, tape = values.shape[-2:-1], unit_rows(values), []
        for weight, bias in self._layers:
            active = torch.addmm(bias, weight, x).relu_()
            flat = active.view(-1, *rows)
            normal, mean, inverse = torch.native_layer_norm(flat, rows, None, None, NORM_EPS)
            tape.append((weight, flat, mean, inverse))
            x = normal.view_as(active)

        def pull(cotangent: Tensor) -> Tensor:
            x = self._weight.T @ unit_rows(cotangent)
            for weight, flat, mean, inverse in reversed(tape):
                slope = torch.ops.aten.native_layer_norm_backward(
                    x.view_as(flat), flat, rows, mean, inverse, None, None, [True, False, False]
                )[0]
                # the derivative of relu by its own output: positive where its input was
                x = weight.T @ torch.ops.aten.threshold_backward(slope, flat, 0).view_as(x)
            return x.T.view_as(values)

        return torch.addmm(self._bias, self._weight, x).T.view_as(values), pull
