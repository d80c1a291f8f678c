"""From what a regularizer says of rows and of the core to what is added to a meta-loss.

λ, the reduction over rows, groups of rows, and several problems computed together are known here and nowhere else. A
meta-loss is a mean over its problems (episodes, networks), and so is the penalty: λ means the same however many of
them make up a step of meta-training. Without gradients every penalty is zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.optimizers.core import Hidden, NeuralOptimizer, Step
from fewshot.regularizers.base import Regularizer


def inner_step(
    core: NeuralOptimizer, regularizer: Regularizer, state: Tensor, hidden: Hidden, networks: int = 1
) -> tuple[Step, Tensor]:
    """Apply the core once, and measure the step: the line that all inner loops share.

    Args:
        core: with `regularizer` attached.
        regularizer: what measures.
        state: [rows, F].
        hidden: from `init_hidden` or the previous step.
        networks: whose rows stand in `state`, one network after another.

    Returns:
        The step taken, and its penalty as `step_penalty` gives it.
    """
    step = core.step(state, hidden)
    return step, step_penalty(core, regularizer, step, networks)


def step_penalty(core: NeuralOptimizer, regularizer: Regularizer, step: Step, networks: int = 1) -> Tensor:
    """R of one inner step without λ (the summand of Eq. 6), the mean over `networks`: a scalar.

    Of a step with groups, [groups, rows, F], the sum over groups of what each would give alone.

    Raises:
        InputError: where the regularizer gives anything but a number for each row.
    """
    per_row = regularizer.per_row(core, step) if torch.is_grad_enabled() else None
    if per_row is None:
        return step.update.new_zeros(())
    if per_row.shape != step.update.shape[:-1]:
        raise InputError(
            f"{type(regularizer).__name__}.per_row gave {list(per_row.shape)} for updates {list(step.update.shape)};"
            " it must give one number for each row"
        )
    if getattr(regularizer.options, "reduction", "mean") == "sum":
        total = per_row.sum()
        return total if networks == 1 else total / networks
    return per_row.mean(dim=-1).sum()


def weighted(regularizer: Regularizer, penalty: Tensor) -> Tensor:
    """λ R."""
    return getattr(regularizer.options, "weight", 1.0) * penalty


def core_penalty(core: NeuralOptimizer, regularizer: Regularizer) -> Tensor:
    """λ R of the core itself: a scalar."""
    penalty = regularizer.per_core(core) if torch.is_grad_enabled() else None
    return next(core.parameters()).new_zeros(()) if penalty is None else weighted(regularizer, penalty)


def episode_penalty(
    core: NeuralOptimizer, regularizer: Regularizer, penalties: Sequence[Tensor], episodes: int = 1
) -> Tensor:
    """λ (Σ_t R_t + R of the core), the mean over episodes: a scalar to be added to their mean loss.

    Args:
        core: as in the inner steps.
        regularizer: as there.
        penalties: of `step_penalty`, of all inner steps of all episodes.
        episodes: that were computed together.
    """
    own = core_penalty(core, regularizer)
    if not penalties:
        return own
    return weighted(regularizer, torch.stack(list(penalties)).sum()) / episodes + own
