"""Options that learners on a frozen backbone's features share."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.errors import InputError
from fewshot.regularizers.base import Regularizer


@dataclass(frozen=True)
class FeatureOptions:
    """Where a learner's features come from."""

    backbone: str = "wrn_28_10"
    """Frozen network whose features are learned from; pre-trained by `python -m benchmarks.pretrain`."""
    views: int = 0
    """Augmented views of each training image to cache and draw from in meta-training; 0: the images as they are."""

    def __post_init__(self) -> None:
        if self.views < 0:
            raise InputError(f"views is {self.views}; it must be at least 0")


def refuse_regularizer(method: str, regularizer: Regularizer) -> None:
    """For methods without a neural optimizer.

    Raises:
        InputError: unless the regularizer is "none".
    """
    if type(regularizer) is not Regularizer:
        raise InputError(f"method {method} has no neural optimizer to regularize; use --regularizer none")
