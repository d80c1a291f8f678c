"""What a regularizer of a neural optimizer is. This base class is the regularizer `none`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from fewshot.errors import InputError, one_of
from fewshot.optimizers.core import NeuralOptimizer, Step


@dataclass(frozen=True)
class NoOptions:
    """Options of a regularizer that has none."""


@dataclass(frozen=True)
class WeightOptions:
    """Options of every regularizer that adds a penalty."""

    weight: float = 1.0
    """Coefficient λ of the penalty in the meta-loss (Eq. 6)."""

    def __post_init__(self) -> None:
        check_at_least(self, weight=0)


@dataclass(frozen=True)
class RowOptions(WeightOptions):
    """Options of every regularizer with a penalty of rows."""

    reduction: Literal["mean", "sum"] = "mean"
    """Over rows: mean (authors' code) or sum (Eq. 3). They differ by the number of rows, so λ depends on it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("penalty.reduction", self.reduction, ("mean", "sum"))


def check_at_least(options: Any, **lowest: float) -> None:
    """Refuse options of a regularizer below their bounds, by name; none may be infinite or NaN.

    Raises:
        InputError: naming the option.
    """
    for name, low in lowest.items():
        value = getattr(options, name)
        if not low <= value < math.inf:
            raise InputError(f"penalty.{name} is {value}; it must be a finite number of at least {low}")


class Regularizer:
    """No regularization, and the base class of all regularizers.

    A regularizer knows the core's contract and nothing else. It is pure up to its own generator: no buffer, `.grad`
    field or global random state moves. A subclass gives `per_row`, `per_core` or neither, and says nothing of λ, of the
    reduction over rows, of groups or of how many problems are computed together: `fewshot.regularizers.penalty` does.
    """

    Options: ClassVar[type] = NoOptions
    """Frozen dataclass of its options; every field has a default. `weight` is λ, 1 where there is no such field;
    `reduction` is that over rows, the mean where there is no such field."""

    def __init__(self, options: Any = None) -> None:
        """Take an instance of `Options`; None: its defaults."""
        self.options = self.Options() if options is None else options

    def attach(self, core: NeuralOptimizer) -> NeuralOptimizer:
        """Check that the options fit `core`, before any work; a regularizer may return a reparametrized core.

        Call it before the core's parameters are handed to anything. Loops over inner steps with an attached core run
        inside `core.unroll()`.

        Raises:
            InputError: where they do not fit.
        """
        return core

    def reseed(self, seed: int) -> None:
        """Start the regularizer's own randomness afresh; called before every meta-training step."""

    def per_row(self, core: NeuralOptimizer, step: Step) -> Tensor | None:
        """The penalty of every row of one inner step, [..., rows] for updates [..., rows, O]; None: there is none.

        It is called with gradients enabled only, and summed over inner steps (Eq. 6).
        """
        return None

    def per_core(self, core: NeuralOptimizer) -> Tensor | None:
        """The penalty on the core itself, whatever it is applied to: a scalar; None: there is none."""
        return None
