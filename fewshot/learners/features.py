"""Options that learners on a frozen backbone's features share."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.errors import InputError


@dataclass(frozen=True)
class FeatureOptions:
    """Where a learner's features come from."""

    backbone: str = "wrn_28_10"
    """Frozen network whose features are learned from: a name (wrn_28_10, resnet12, conv4_64) whose weights
    `python -m benchmarks.pretrain` left, or the path of a file of weights that it wrote or imported."""
    views: int = 0
    """Augmented views of each training image to cache and draw from in meta-training; 0: the images as they are."""

    def __post_init__(self) -> None:
        if self.views < 0:
            raise InputError(f"learner.views is {self.views}; it must be at least 0")
