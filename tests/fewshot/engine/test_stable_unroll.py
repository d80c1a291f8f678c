"""What keeps an unroll from running away: normalized weights, logarithms of losses, a cap on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from fewshot.engine.unroll import Truncation, Unroll, Weighting, step_weights
from fewshot.general.tasks import Problem, Quadratic
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions

TASK = Quadratic(size=4, rows=12, dtype=torch.float64)
WEIGHTS = [1.0, 2.0, 3.0, 4.0]


def make(name: str = "simple", **options: Any) -> CoordinatewiseOptimizer:
    kind = LEARNED[name]
    return kind(torch.Generator().manual_seed(3), kind.Options(**options)).double()


def problem(seed: int) -> Problem:
    return TASK.problem("train", seed, 8)


def unroll(core: CoordinatewiseOptimizer, problems: Sequence[Problem], weight: float = 0.0, **options: Any) -> Unroll:
    regularizer = Smoothness(SmoothOptions(weight=weight, maximum="endpoints")) if weight else Regularizer()
    return Unroll(core, regularizer, problems, 0, **options)


def gradient(core: CoordinatewiseOptimizer, part: Truncation) -> Tensor:
    return torch.cat(
        [g.reshape(-1) for g in torch.autograd.grad(part.surrogate, list(core.parameters()), materialize_grads=True)]
    )


@pytest.mark.parametrize("weighting", get_args(Weighting))
@pytest.mark.parametrize("length", [1, 7])
def test_normalized_weights_are_shares(weighting: Weighting, length: int) -> None:
    for truncation in (0, 2):
        plain = step_weights(weighting, truncation, length)
        shares = step_weights(weighting, truncation, length, normalized=True)
        if not any(plain):  # the first truncation of the authors' code
            assert shares == plain
            continue
        assert sum(shares) == pytest.approx(1)
        assert [share * sum(plain) for share in shares] == pytest.approx(plain)


def test_normalization_divides_the_meta_gradient_penalty_included() -> None:
    core = make()
    plain, shared = (
        gradient(core, unroll(core, [problem(1)], weight=3.0).truncation(step_weights("linear", 0, 4, normalized=n)))
        for n in (False, True)
    )
    torch.testing.assert_close(shared, plain / 10)


@pytest.mark.parametrize("judged_on", ["same", "next"])
def test_logarithms_of_losses_are_what_the_log_objective_sums(judged_on: Any) -> None:
    """Against one graph through networks and core, nothing rewritten."""
    core, seeds = make(), (1, 2)
    ours = unroll(core, [problem(s) for s in seeds], objective="log", judged_on=judged_on).truncation(WEIGHTS)
    total = torch.zeros((), dtype=torch.float64)
    for each in map(problem, seeds):
        theta, memory, hidden = each.init(), core.features.init(each.init()[None]), core.init_hidden(4)
        for step, weight in enumerate(WEIGHTS):
            leaf = theta.detach().requires_grad_()
            (g,) = torch.autograd.grad(each.loss(leaf, each.batch(step)), leaf)
            state, memory = core.features(g[None], theta[None], memory)
            update, hidden = core(state[0], hidden)
            theta = theta + update[:, 0]
            total = total + weight * each.loss(theta, each.batch(step + (judged_on == "next"))).log() / len(seeds)
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(total, list(core.parameters()))])
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(gradient(core, ours), expected)


class Shifted(Problem):
    """A quadratic times a factor, plus a constant."""

    def __init__(self, seed: int, factor: float = 1.0, shift: float = 0.0) -> None:
        self.whole, self.factor, self.shift = problem(seed), factor, shift
        self.init, self.batch = self.whole.init, self.whole.batch

    def loss(self, weights: Tensor, batch: Any) -> Tensor:
        return self.factor * self.whole.loss(weights, batch) + self.shift


def test_the_unit_of_a_loss_is_nothing_to_the_log_objective() -> None:
    core = make(scale_free=True)
    first, second = (
        gradient(core, unroll(core, [Shifted(1, factor)], objective="log").truncation(WEIGHTS)) for factor in (1, 1e-3)
    )
    torch.testing.assert_close(first, second)


def test_a_loss_of_zero_has_no_pull_and_one_below_it_no_logarithm() -> None:
    core = make()
    solved = unroll(core, [Shifted(1, factor=0.0)], objective="log").truncation(WEIGHTS)
    assert not gradient(core, solved).any()
    negative = unroll(core, [Shifted(1, factor=1e-10, shift=-1.0)], objective="log").truncation(WEIGHTS)
    assert gradient(core, negative).isnan().any()


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("judged_on", ["same", "next"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_cap_that_nothing_reaches_changes_no_bit(name: str, judged_on: Any, recompute: bool) -> None:
    core, problems = make(name), [problem(1), problem(2)]
    weight = 3.0 if core.state_size == 1 else 0.0
    free, capped = (
        unroll(core, problems, weight, judged_on=judged_on, recompute=recompute, loss_cap=cap)
        for cap in (math.inf, 1e6)
    )
    for _ in range(2):
        parts = free.truncation(WEIGHTS), capped.truncation(WEIGHTS)
        assert torch.equal(*(gradient(core, part) for part in parts))
        assert torch.equal(parts[0].loss, parts[1].loss)
        assert torch.equal(parts[0].penalty, parts[1].penalty)
        assert torch.equal(free.weights, capped.weights)
    assert int(capped.lost) == 0


class Runaway(Problem):
    """A quadratic whose loss or gradient is beyond all bounds in the batches of some steps."""

    def __init__(self, seed: int, bad: Sequence[int], kind: str = "nan") -> None:
        self.whole, self.bad, self.kind = problem(seed), bad, kind
        self.init, self.batch = self.whole.init, lambda step: (step, self.whole.batch(step))

    def loss(self, weights: Tensor, batch: tuple[int, Tensor]) -> Tensor:
        loss = self.whole.loss(weights, batch[1])
        if batch[0] not in self.bad:
            return loss
        if self.kind == "slope":  # the loss is as it was, its gradient is not finite
            return loss + (weights - weights.detach()).abs().sum().sqrt()
        return loss * {"nan": math.nan, "inf": math.inf, "high": 1e5}[self.kind]


@pytest.mark.parametrize("kind", ["nan", "inf", "high", "slope"])
@pytest.mark.parametrize(("name", "objective"), [("simple", "plain"), ("simple", "log"), ("rnnprop", "log")])
def test_a_lost_network_counts_up_to_where_it_was_lost_and_starts_afresh(kind: str, name: str, objective: Any) -> None:
    """Of two networks, one runs away at the third step: both truncations by hand, from each network alone."""
    core, options = make(name), {"objective": objective, "judged_on": "next"}
    running = unroll(core, [problem(1), Runaway(2, [3], kind)], loss_cap=3.0, **options)
    other, lost = unroll(core, [problem(1)], **options), unroll(core, [problem(2)], **options)
    found, alone = running.truncation(WEIGHTS), other.truncation(WEIGHTS)
    before = lost.truncation([*WEIGHTS[:2], 0.0, 0.0])
    torch.testing.assert_close(gradient(core, found), (gradient(core, alone) + gradient(core, before)) / 2)
    cap = 3 * problem(2).loss(problem(2).init(), problem(2).batch(0))
    losses = torch.stack([before.loss[0], before.loss[1], cap, cap])
    torch.testing.assert_close(found.loss, (alone.loss + losses) / 2)
    assert int(running.lost) == 1

    later = problem(2)  # its initial weights, its batches from the fifth
    later.batch = lambda step: problem(2).batch(step + 4)
    found, alone = running.truncation(WEIGHTS), other.truncation(WEIGHTS)
    afresh = unroll(core, [later], **options).truncation(WEIGHTS)
    torch.testing.assert_close(found.loss, (alone.loss + afresh.loss) / 2)
    torch.testing.assert_close(gradient(core, found), (gradient(core, alone) + gradient(core, afresh)) / 2)
    assert int(running.lost) == 1


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("judged_on", ["same", "next"])
def test_whatever_runs_away_meta_gradients_stay_finite(name: str, judged_on: Any) -> None:
    """Penalty included; with moments, whose memory an infinite gradient must not enter."""
    options = {"features": "full"} if name == "simple" else {}
    for core in (make(name), make(name, **options)):
        problems = [Runaway(1, [1], "inf"), Runaway(2, [5], "slope"), Runaway(3, [2, 6], "nan")]
        running = unroll(core, problems, weight=1.0, judged_on=judged_on, loss_cap=2.0)
        for _ in range(3):
            part = running.truncation(WEIGHTS)
            assert gradient(core, part).isfinite().all()
            assert part.loss.isfinite().all()
            assert part.penalty.isfinite().all()
        assert int(running.lost) >= 4


def test_a_network_that_begins_without_a_loss_is_no_success() -> None:
    core = make()
    part = unroll(core, [Runaway(1, range(9))], loss_cap=2.0).truncation(WEIGHTS)
    assert part.loss.isnan().all()
