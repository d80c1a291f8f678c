"""Several problems trained side by side: functions of all their weights at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.general.examples import Part
from fewshot.general.stepping import loss_and_gradient
from fewshot.general.tasks import EVALUATION_BATCH, ClassificationProblem, Problem, Score

NETWORKS_AT_ONCE = 32
WEIGHTS_AT_ONCE = 1 << 20
"""Networks and weights that are trained at a time: what bounds the memory."""


class Together(Protocol):
    """N problems of one size; scores are [N]."""

    def init(self) -> Tensor:
        """Fresh flat weights [N, P]."""
        ...

    def loss_and_gradient(self, weights: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Losses [N] of weights [N, P] on every problem's batch of a step, and gradients [N, P]; no graph."""
        ...

    def training_score(self, weights: Tensor) -> Score:
        """See `Problem`."""
        ...

    def held_out_score(self, weights: Tensor) -> Score:
        """See `Problem`."""
        ...


def together(problems: Sequence[Problem]) -> Together:
    """Problems of one size, by one computation where they allow it, else one after the other."""
    return SideBySide(problems) if len(problems) > 1 and _alike(problems) else OneByOne(problems)


def chunks(problems: Sequence[Problem]) -> list[Sequence[Problem]]:
    """Problems in groups that fit into memory, in their order."""
    size = networks_at_once(problems)
    return [problems[i : i + size] for i in range(0, len(problems), size)]


def networks_at_once(problems: Sequence[Problem]) -> int:
    """How many of these networks of one size are trained at a time."""
    return max(1, min(NETWORKS_AT_ONCE, WEIGHTS_AT_ONCE // len(problems[0].init())))


class OneByOne:
    """Any problems, each by its own functions."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems

    def init(self) -> Tensor:
        return torch.stack([problem.init() for problem in self.problems])

    def loss_and_gradient(self, weights: Tensor, step: int) -> tuple[Tensor, Tensor]:
        pairs = zip(self.problems, weights, strict=True)
        losses, gradients = zip(*(loss_and_gradient(p, w, p.batch(step)) for p, w in pairs), strict=True)
        return torch.stack(losses), torch.stack(gradients)

    def training_score(self, weights: Tensor) -> Score:
        return _stacked([p.training_score(w) for p, w in zip(self.problems, weights, strict=True)])

    def held_out_score(self, weights: Tensor) -> Score:
        return _stacked([p.held_out_score(w) for p, w in zip(self.problems, weights, strict=True)])


class SideBySide:
    """Problems of one classification task that differ in their seeds alone, on a network that is `stackable`."""

    def __init__(self, problems: Sequence[ClassificationProblem]) -> None:
        self.problems = problems
        self.task, self.train, self.held_out = problems[0].task, problems[0].train, problems[0].held_out
        self._sample: Tensor | None = None

    def init(self) -> Tensor:
        return torch.stack([problem.init() for problem in self.problems])

    def loss_and_gradient(self, weights: Tensor, step: int) -> tuple[Tensor, Tensor]:
        batch = self._batch(step)
        with torch.enable_grad():
            leaf = weights.detach().requires_grad_()
            losses = _losses(self.task.net.stacked(leaf, batch.inputs), batch.labels).mean(dim=1)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach(), gradient

    def training_score(self, weights: Tensor) -> Score:
        if self._sample is None:  # the same at every step
            self._sample = torch.stack([problem.sampled_rows() for problem in self.problems])
        return self._score(weights, self.train, self._sample.to(self.train.labels.device))

    def held_out_score(self, weights: Tensor) -> Score:
        every = torch.arange(len(self.held_out), device=self.held_out.labels.device)
        return self._score(weights, self.held_out, every[None])

    def _batch(self, step: int) -> Part:
        """Inputs [N, B, ...] and labels [N, B] of all problems."""
        if self.task.augment is None:
            rows = torch.stack([problem.rows(step) for problem in self.problems])
            return self._seen(self.train, rows.to(self.train.labels.device))
        batches = [problem.batch(step) for problem in self.problems]
        return Part(torch.stack([b.inputs for b in batches]), torch.stack([b.labels for b in batches]))

    def _seen(self, part: Part, rows: Tensor) -> Part:
        """Examples of `part`, by row [N, B], as networks see them."""
        found = part.take(rows.flatten())
        inputs = self.task.examples.view(found.inputs)
        return Part(inputs.unflatten(0, rows.shape), found.labels.view(rows.shape))

    @torch.no_grad()
    def _score(self, weights: Tensor, part: Part, rows: Tensor) -> Score:
        """On examples of `part`, by row: the same ones for all [1, S], or each problem's own [N, S]."""
        loss, correct = weights.new_zeros(len(weights)), weights.new_zeros(len(weights))
        for some in rows.split(max(1, 1 * EVALUATION_BATCH // len(rows)), dim=1):
            found = self._seen(part, some)
            scores, labels = self.task.net.stacked(weights, found.inputs), found.labels.expand(len(weights), -1)
            loss += _losses(scores, labels).sum(dim=1)
            correct += (scores.argmax(dim=-1) == labels).sum(dim=1)
        return Score(loss / rows.shape[-1], correct / rows.shape[-1])


def _losses(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy [N, B] of scores [N, B, C]."""
    return F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)


def _alike(problems: Sequence[Problem]) -> TypeGuard[Sequence[ClassificationProblem]]:
    first = problems[0]
    return (
        type(first) is ClassificationProblem
        and first.task.net.stackable
        and all(
            type(p) is ClassificationProblem
            and p.task is first.task
            and p.batch_size == first.batch_size
            and p.train is first.train  # not where every problem draws its own classes
            and p.held_out is first.held_out
            for p in problems
        )
    )


def _stacked(scores: Sequence[Score]) -> Score:
    accuracies = [score.accuracy for score in scores if score.accuracy is not None]
    losses = torch.stack([score.loss for score in scores])
    return Score(losses, torch.stack(accuracies) if len(accuracies) == len(scores) else None)
