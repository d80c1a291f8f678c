"""Curves of loss and accuracy over a training, with divergence kept as divergence."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from fewshot.general.stepping import StepperFactory, loss_and_gradient
from fewshot.general.tasks import Problem


@dataclass
class Curve:
    """One training, seen at some steps; ends with the last finite point."""

    diverged_at: int | None = None
    """The first step whose loss or weights were not finite; 0 is before the first update."""
    step: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] | None = field(default_factory=list)
    test_accuracy: list[float] | None = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        """As JSON values."""
        return asdict(self)


def points(steps: int, count: int) -> list[int]:
    """`count` steps from 0 to `steps`, evenly spread, both ends among them."""
    return sorted({round(i * steps / (count - 1)) for i in range(count)})


def train(problem: Problem, start: StepperFactory, steps: int, at: list[int] | None = None) -> Curve:
    """Train a problem's network from its initialization.

    Args:
        problem: what to train.
        start: makes the optimizer.
        steps: updates.
        at: steps at which training and held-out score are taken; None: at the end alone.

    Returns:
        The curve; held-out scores are under `test_loss` and `test_accuracy`, whatever the problem's stage.
    """
    curve, wanted = Curve(), set([steps] if at is None else at)
    weights = problem.init()
    stepper = start(weights)
    losses: list[Tensor] = []
    for step in range(steps + 1):
        if step in wanted and not _extend(curve, problem, weights, step, losses):
            return curve
        if step < steps:
            loss, gradient = loss_and_gradient(problem, weights, problem.batch(step))
            losses.append(loss)
            weights = stepper.step(weights, gradient)
    return curve


def _extend(curve: Curve, problem: Problem, weights: Tensor, step: int, losses: list[Tensor]) -> bool:
    """Add a point, unless training has diverged: whether it has not."""
    first = step - len(losses)
    bad = [i for i, loss in enumerate(torch.stack(losses).tolist()) if not math.isfinite(loss)] if losses else []
    losses.clear()
    train_score, held_out = problem.training_score(weights), problem.held_out_score(weights)
    scores = [float(train_score.loss), float(held_out.loss)]
    if bad or not all(map(math.isfinite, scores)) or not bool(weights.isfinite().all()):
        curve.diverged_at = first + bad[0] if bad else step
        return False
    curve.step.append(step)
    curve.train_loss.append(scores[0])
    curve.test_loss.append(scores[1])
    if train_score.accuracy is None or held_out.accuracy is None:
        curve.train_accuracy = curve.test_accuracy = None
    elif curve.train_accuracy is not None and curve.test_accuracy is not None:
        curve.train_accuracy.append(float(train_score.accuracy))
        curve.test_accuracy.append(float(held_out.accuracy))
    return True


def final_losses(problems: list[Problem], start: StepperFactory, steps: int) -> list[float]:
    """Held-out loss of each problem at the end of the horizon; infinite where it diverged."""
    curves = [train(problem, start, steps) for problem in problems]
    return [curve.test_loss[-1] if curve.diverged_at is None else math.inf for curve in curves]
