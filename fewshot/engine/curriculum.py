"""A curriculum over horizons: an optimizer learns to train for few steps first, then for more.

Tianlong Chen et al., "Training Stronger Baselines for Learning to Optimize", NeurIPS 2020. As there, a stage is
validated at the next stage's horizon, ends once a validation of its own no longer improves on its best, and hands its
best optimizer to the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewshot.errors import InputError

LEAST_VALIDATIONS = 3
"""A stage is not over before, unless its share of the unrolls is used up."""


@dataclass(frozen=True)
class Curriculum:
    """Stages of meta-training, counted from 0; the last one is for the full horizon, and takes the rest of the run."""

    horizons: tuple[int, ...]
    """Of the stages, growing."""
    unrolls: int
    """Of the whole run. A stage that does not end by itself gets an equal share, so that the last is always reached."""

    @property
    def last(self) -> int:
        """The last stage."""
        return len(self.horizons) - 1

    def validated_at(self, stage: int) -> int:
        """The horizon at which a stage's optimizers are compared: the next one; the last stage's own."""
        return self.horizons[min(stage + 1, self.last)]

    def deadline(self, stage: int) -> int:
        """The number of unrolls done at which a stage is over in any case."""
        return self.unrolls * (stage + 1) // len(self.horizons)

    def is_over(self, stage: int, unroll: int, losses: Sequence[float | None], improved: bool) -> bool:
        """Whether the next stage begins after a validation.

        Args:
            stage: the present one.
            unroll: unrolls done.
            losses: of the stage's validations, None where one diverged.
            improved: whether the last one is the stage's best.
        """
        if stage == self.last:
            return False
        settled = len(losses) >= LEAST_VALIDATIONS and not improved and any(loss is not None for loss in losses)
        return settled or unroll >= self.deadline(stage)


def check_curriculum(shorter: Sequence[int], horizon: int, truncation: int, unrolls: int) -> None:
    """Refuse stages that make no curriculum.

    Args:
        shorter: horizons of the stages before the last.
        horizon: of the last.
        truncation: T, steps per update of the optimizer.
        unrolls: of the run.

    Raises:
        InputError: unless all are multiples of T that grow up to `horizon`, with an unroll for every stage.
    """
    horizons = [*shorter, horizon]
    text = " ".join(map(str, shorter))
    if any(later <= earlier for earlier, later in zip([0, *horizons], horizons, strict=False)):
        raise InputError(
            f"training.curriculum is {text} with training.horizon {horizon}; give shorter horizons that grow, the"
            " last one below training.horizon"
        )
    if any(value % truncation for value in shorter):
        raise InputError(f"training.curriculum is {text}; give multiples of training.truncation {truncation}")
    if unrolls < len(horizons):
        raise InputError(
            f"training.unrolls is {unrolls}, less than the {len(horizons)} stages of the curriculum; give more unrolls"
        )
