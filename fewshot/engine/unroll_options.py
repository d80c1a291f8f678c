"""Options of meta-training of optimizers of network weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fewshot.engine.curriculum import check_curriculum
from fewshot.engine.imitation import ImitationOptions
from fewshot.engine.unroll import Objective, Weighting
from fewshot.errors import InputError, one_of
from fewshot.general.variation import VariationOptions
from fewshot.optimizers.coordinatewise import OMITTED_DEFAULT

Estimator = Literal["backpropagation", "pes"]


@dataclass(frozen=True)
class UnrollOptions:
    """Options of meta-training; the defaults are the paper's and its code's."""

    unrolls: int = 2000
    """Trainings of a fresh network (authors' code: 200 epochs of 10)."""
    horizon: int = 200
    """T_total, steps of each; with a curriculum, of the last stage."""
    shortest_horizon: int = field(default=0, metadata=OMITTED_DEFAULT)
    """Horizons are drawn log-uniformly from here up to `horizon`, in multiples of T; 0: all are `horizon`."""
    curriculum: tuple[int, ...] = ()
    """Shorter horizons to begin with, one a stage; none by default."""
    truncation: int = 20
    """T, steps per update of the optimizer."""
    estimator: Estimator = field(default="backpropagation", metadata=OMITTED_DEFAULT)
    """Of the meta-gradient of a truncation: backpropagation through it, or pes, persistent evolution strategies, whose
    mean is that of whole unrolls: two networks a problem, no graph."""
    second_order: bool = field(default=False, metadata=OMITTED_DEFAULT)
    """Backpropagate through the gradients that the optimizer sees: how a step changes those of later steps. Without,
    they are constants (the paper's code); with, a step of meta-training takes longer and keeps graphs of networks."""
    perturbation: float = field(default=0.01, metadata=OMITTED_DEFAULT)
    """σ of what pes adds to each of the optimizer's weights."""
    batch_size: int = 128
    """Examples per step."""
    weighting: Weighting = "linear"
    """Weights of the losses within a truncation: linear, authors_code (k T in truncation k), uniform, last."""
    normalize_weights: bool = field(default=False, metadata=OMITTED_DEFAULT)
    """Divide those weights by their sum: Σ w_t = 1 in every truncation, however long."""
    objective: Objective = field(default="plain", metadata=OMITTED_DEFAULT)
    """What the weights weight: losses (the paper), or their logarithms, so that late, small ones count."""
    loss_cap: float = field(default=math.inf, metadata=OMITTED_DEFAULT)
    """Multiple of a network's loss before its first step (of a classifier, about ln C) beyond which it counts no more
    and starts afresh with the next truncation; inf: none."""
    judged_on: Literal["same", "next"] = "same"
    """Batch of the loss after a step: the step's own (authors' code), or the next step's, which costs half as much."""
    meta_rate: float = 1e-4
    """Learning rate of Adam on the optimizer."""
    meta_decay: Literal["none", "cosine"] = "none"
    """How that falls over the unrolls: not at all (the paper), or to zero along half a cosine."""
    meta_warmup: int = field(default=0, metadata=OMITTED_DEFAULT)
    """Unrolls over which it rises linearly first; the decay is over those that are left."""
    clamp: float = 1.0
    """Bound of each element of the meta-gradient, or of its norm."""
    clip: Literal["value", "norm"] = field(default="value", metadata=OMITTED_DEFAULT)
    """What that bounds: each element (authors' code), or the L2 norm of all of them."""
    meta_batch: int = 1
    """Networks trained at once; the meta-loss is their mean."""
    recompute: bool = False
    """Recompute inner steps in the backward pass: less memory for large networks, more time."""
    validate_every: int = 50
    """Unrolls between validations."""
    validation_problems: int = 5
    """Fixed initializations; the optimizer with the least mean validation loss at the end of the horizon is tested."""
    variation: VariationOptions = field(default_factory=VariationOptions)
    """Of training problems alone."""
    imitation: ImitationOptions = field(default_factory=ImitationOptions)
    """Of a hand-designed optimizer, in some of the unrolls."""

    def __post_init__(self) -> None:
        for name in (
            "unrolls", "horizon", "truncation", "batch_size", "meta_batch", "validate_every", "validation_problems"
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("meta_rate", "clamp", "perturbation"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"training.{name} is {getattr(self, name)}; it must be positive and finite")
        one_of("training.estimator", self.estimator, ["backpropagation", "pes"])
        for name in ("recompute", "second_order"):
            if self.estimator == "pes" and getattr(self, name):
                raise InputError(f"training.{name} has no meaning with training.estimator pes, which keeps no graph")
        one_of("training.clip", self.clip, ["value", "norm"])
        one_of("training.objective", self.objective, ["plain", "log"])
        if not self.loss_cap > 1:
            raise InputError(
                f"training.loss_cap is {self.loss_cap}; it must be above 1, where networks begin, or inf (no cap)"
            )
        if not 0 <= self.meta_warmup < self.unrolls:
            raise InputError(
                f"training.meta_warmup is {self.meta_warmup}; it must be at least 0 (none) and below training.unrolls"
                f" {self.unrolls}"
            )
        if self.horizon % self.truncation:
            raise InputError(
                f"training.horizon {self.horizon} is no multiple of training.truncation {self.truncation}; make it one"
            )
        check_curriculum(self.curriculum, self.horizon, self.truncation, self.unrolls)
        least = min((self.horizon, *self.curriculum))
        if self.shortest_horizon % self.truncation or not 0 <= self.shortest_horizon <= least:
            raise InputError(
                f"training.shortest_horizon is {self.shortest_horizon}; it must be 0 (none drawn) or a multiple of"
                f" training.truncation {self.truncation} up to {least}, the least horizon"
            )

    def meta_rate_at(self, unroll: int) -> float:
        """Learning rate of Adam in an unroll, counted from 0."""
        if unroll < self.meta_warmup:
            return (unroll + 1) / self.meta_warmup * self.meta_rate
        done = (unroll - self.meta_warmup) / (self.unrolls - self.meta_warmup)
        share = (1 + math.cos(math.pi * done)) / 2 if self.meta_decay == "cosine" else 1.0
        return share * self.meta_rate

    def horizon_at(self, seed: int, longest: int) -> int:
        """Steps of an unroll.

        Args:
            seed: 63 bits; decides the draw.
            longest: horizon of the present stage, a multiple of T.

        Returns:
            `longest`, or k T, where k = ⌊exp x⌋ with x uniform from the logarithm of the least k to that of the
            largest plus one.
        """
        if not self.shortest_horizon:
            return longest
        least, most = self.shortest_horizon // self.truncation, longest // self.truncation
        drawn = math.floor(least * ((most + 1) / least) ** (seed / 2**63))
        return min(drawn, most) * self.truncation  # rounding may reach the end of the interval
