"""The response of a recurrent optimizer without its recurrent products."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from fewshot.optimizers.core import Hidden, Response, Step


class Recurrent(Protocol):
    """What is needed of a `fewshot.optimizers.recurrent.RecurrentOptimizer`."""

    def known(self, hidden: Hidden) -> Hidden: ...

    def read(self, x: Tensor, known: Hidden, hidden: Hidden) -> tuple[Tensor, Hidden]: ...

    def response(self, step: Step, columns: slice) -> Response: ...


class RecurrentResponse(Response):
    """Every evaluation at a step shares the step's own U h, its dearest part, which does not depend on the state."""

    divisible = True

    def __init__(self, core: Recurrent, step: Step, columns: slice) -> None:
        self._core, self._step, self._columns = core, step, columns
        self._known = step.known or core.known(step.hidden)

    def __call__(self, values: Tensor) -> Tensor:
        x = self._step.moved_to(values, self._columns)
        return self._core.read(x.T, self._known, self._step.hidden)[0].T

    def at(self, rows: Tensor) -> Response:
        return self._core.response(self._step.at(rows), self._columns)
