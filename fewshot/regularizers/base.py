"""What a regularizer of a neural optimizer is. This base class is the regularizer `none`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.optimizers.core import NeuralOptimizer, Step


@dataclass(frozen=True)
class PenaltyOptions:
    """Options of the regularizers. Those after `weight` belong to `smooth` alone; `spectral` has none."""

    weight: float = 1.0
    """Coefficient λ of the penalty in the meta-loss (Eq. 6): of smoothness, of the sum of squared weights (l2), or of
    the squared deviation from orthogonal weights (orthogonal). Without effect for spectral."""
    radius: float = 1.0
    """Perturbation strength ε: the radius of the l∞ ball around a state."""
    columns: str = "default"
    """Which part of the state is perturbed: default (what the optimizer declares), all, or a part it names."""
    maximum: Literal["auto", "exact", "pgd", "endpoints"] = "auto"
    """How the inner maximum of Eq. 3 is found; auto: exact where the optimizer knows it, else pgd."""
    reduction: Literal["mean", "sum"] = "mean"
    """Over rows: mean (authors' code) or sum (Eq. 3). They differ by the number of rows, so λ depends on it."""
    pgd_steps: int = 10
    """K, steps of projected gradient ascent (authors' code; the paper gives none)."""
    pgd_step_size: float = 0.2
    """η₁ as a fraction of the radius (authors' code: ε/5)."""
    pgd_start: float = 0.05
    """Standard deviation of the starting noise (Algorithm 1; authors' code: 0.01)."""

    def __post_init__(self) -> None:
        for name, low in (("weight", 0), ("radius", 0), ("pgd_steps", 1), ("pgd_step_size", 0), ("pgd_start", 0)):
            value = getattr(self, name)
            if not low <= value < float("inf"):
                raise InputError(f"penalty.{name} is {value}; it must be a finite number of at least {low}")


class Regularizer:
    """No regularization, and the base class of all regularizers.

    A regularizer knows the core's contract and nothing else. It is pure up to its own generator: no buffer, `.grad`
    field or global random state moves.
    """

    def __init__(self, options: PenaltyOptions | None = None) -> None:
        self.options = options or PenaltyOptions()

    @property
    def weight(self) -> float:
        """λ; the caller multiplies the accumulated penalty by it once."""
        return self.options.weight

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

    def per_unroll(self, core: NeuralOptimizer) -> Tensor:
        """Penalty on the core itself, independent of the number of inner steps: a scalar."""
        return torch.zeros((), device=next(core.parameters()).device)

    def per_step(self, core: NeuralOptimizer, step: Step) -> Tensor:
        """Penalty of one inner step, summed over inner steps by the caller (Eq. 6): a scalar.

        Of a step with groups, [groups, rows, F], the sum of what the groups would give one by one.
        """
        return step.update.new_zeros(())
