"""Curves of loss and accuracy over trainings side by side, with divergence kept as divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from fewshot.general.stepping import StepperFactory
from fewshot.general.tasks import Problem, Score
from fewshot.general.together import chunks, together

STRIDE = 10
"""Steps after which progress is told."""


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


def train(
    problems: Sequence[Problem],
    start: StepperFactory,
    steps: int,
    at: Iterable[int] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Curve]:
    """Train every problem's network from its initialization, so many at once as fit into memory.

    Networks do not see each other: which others are trained beside one changes its numbers by rounding alone.

    Args:
        problems: of one size.
        start: makes the optimizer of some networks.
        steps: updates.
        at: steps at which training and held-out score are taken; None: at the end alone.
        advance: called now and then with how many steps were taken since, counted for every network.

    Returns:
        A curve each; held-out scores are under `test_loss` and `test_accuracy`, whatever the problems' stage.
    """
    wanted = {steps} if at is None else set(at)
    return [curve for some in chunks(problems) for curve in _train(some, start, steps, wanted, advance)]


def _train(
    problems: Sequence[Problem], start: StepperFactory, steps: int, wanted: set[int], advance: Callable[[int], None]
) -> list[Curve]:
    group, curves = together(problems), [Curve() for _ in problems]
    weights = group.init()
    stepper = start(weights)
    losses: list[Tensor] = []
    for step in range(steps + 1):
        if step in wanted:
            scored = stepper.scored(weights)
            finite = weights.isfinite().all(dim=1) & scored.isfinite().all(dim=1)
            _extend(curves, step, losses, finite, group.training_score(scored), group.held_out_score(scored))
            losses.clear()
            if all(curve.diverged_at is not None for curve in curves):
                advance(len(problems) * (steps - step + step % STRIDE))
                break
        if step < steps:
            loss, gradient = group.loss_and_gradient(weights, step)
            losses.append(loss)
            weights = stepper.step(weights, gradient)
            if (step + 1) % STRIDE == 0 or step + 1 == steps:
                advance(len(problems) * (step % STRIDE + 1))
    return curves


def _extend(
    curves: Sequence[Curve], step: int, losses: Sequence[Tensor], finite: Tensor, train: Score, held_out: Score
) -> None:
    """Add a point to every curve but those that have diverged.

    Args:
        curves: N.
        step: of the point.
        losses: of the steps since the point before, each [N].
        finite: whether weights are, [N].
        train: [N].
        held_out: [N].
    """
    first = step - len(losses)
    bad = torch.stack(list(losses)).isfinite().logical_not().tolist() if losses else []
    scores = [train.loss.tolist(), held_out.loss.tolist()]
    accuracies = [score.accuracy.tolist() for score in (train, held_out) if score.accuracy is not None]
    for i, (curve, sound) in enumerate(zip(curves, finite.tolist(), strict=True)):
        if curve.diverged_at is not None:
            continue
        failed = next((first + k for k, each in enumerate(bad) if each[i]), None)
        if failed is not None or not sound or not all(math.isfinite(score[i]) for score in scores):
            curve.diverged_at = step if failed is None else failed
            continue
        curve.step.append(step)
        curve.train_loss.append(scores[0][i])
        curve.test_loss.append(scores[1][i])
        if len(accuracies) < 2:
            curve.train_accuracy = curve.test_accuracy = None
        elif curve.train_accuracy is not None and curve.test_accuracy is not None:
            curve.train_accuracy.append(accuracies[0][i])
            curve.test_accuracy.append(accuracies[1][i])


def final_losses(problems: Sequence[Problem], start: StepperFactory, steps: int) -> list[float]:
    """Held-out loss of each problem at the end of the horizon; infinite where it diverged."""
    curves = train(problems, start, steps)
    return [curve.test_loss[-1] if curve.diverged_at is None else math.inf for curve in curves]
