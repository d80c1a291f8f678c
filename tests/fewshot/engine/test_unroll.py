"""Meta-gradients of unrolls against plain loops, finite differences, and each other."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from fewshot.engine.unroll import Unroll, Weighting, step_weights
from fewshot.general.tasks import Quadratic
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.regularizers import REGULARIZERS, Regularizer, Smoothness, SmoothOptions

TASK = Quadratic(size=4, rows=12, dtype=torch.float64)


def make(name: str = "simple") -> CoordinatewiseOptimizer:
    core = LEARNED[name](torch.Generator().manual_seed(3)).double()
    with torch.no_grad():  # far enough from the start that every term of a gradient is visible
        for parameter in core.parameters():
            parameter.mul_(2)
    return core


def smooth(weight: float = 3.0, reduction: Any = "mean") -> Smoothness:
    return Smoothness(SmoothOptions(weight=weight, maximum="endpoints", reduction=reduction))


def unroll(core: CoordinatewiseOptimizer, seeds: list[int], regularizer: Regularizer, **options: Any) -> Unroll:
    return Unroll(core, regularizer, [TASK.problem("train", s, 8) for s in seeds], 0, **options)


def gradient(core: CoordinatewiseOptimizer, surrogate: Tensor) -> Tensor:
    return torch.cat(
        [g.reshape(-1) for g in torch.autograd.grad(surrogate, list(core.parameters()), materialize_grads=True)]
    )


def by_loop(
    core: CoordinatewiseOptimizer,
    seed: int,
    regularizer: Smoothness,
    weights: list[float],
    ahead: int = 0,
    second_order: bool = False,
) -> Tensor:
    """Eq. 5 with one graph through networks and core, nothing rewritten: the objective."""
    problem = TASK.problem("train", seed, 8)
    theta, memory = problem.init(), core.features.init(problem.init()[None])
    hidden, total = core.init_hidden(len(theta)), torch.zeros((), dtype=torch.float64)
    for step, weight in enumerate(weights):
        leaf = theta if second_order and step else theta.detach().requires_grad_()
        (g,) = torch.autograd.grad(problem.loss(leaf, problem.batch(step)), leaf, create_graph=second_order)
        state, memory = core.features(g[None], theta[None], memory)
        update, after = core.equation(state[0], hidden)
        ends = [state[0].detach() + end * regularizer.options.radius for end in (-1, 1)]
        penalties = [(core.equation(moved, hidden)[0] - update).square().sum(dim=1) for moved in ends]
        theta, hidden = theta + update[:, 0], after
        total = total + weight * problem.loss(theta, problem.batch(step + ahead))
        total = total + weight * regularizer.options.weight * torch.maximum(*penalties).mean()
    return total


@pytest.mark.parametrize("judged_on", ["same", "next"])
@pytest.mark.parametrize("recompute", [False, True])
def test_meta_gradient_is_that_of_a_plain_loop(judged_on: Any, recompute: bool) -> None:
    core, regularizer, weights = make(), smooth(), step_weights("linear", 0, 6)
    ours = unroll(core, [5], regularizer, judged_on=judged_on, recompute=recompute).truncation(weights)
    expected = gradient(core, by_loop(core, 5, regularizer, weights, ahead=int(judged_on == "next")))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(gradient(core, ours.surrogate), expected)


@pytest.mark.parametrize("judged_on", ["same", "next"])
@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_second_order_meta_gradient_is_that_of_a_plain_loop_with_second_derivatives(
    judged_on: Any, weight: float
) -> None:
    core, regularizer, weights = make(), smooth(weight), step_weights("linear", 0, 6)
    ours = unroll(core, [5], regularizer, judged_on=judged_on, second_order=True).truncation(weights)
    objective = by_loop(core, 5, regularizer, weights, int(judged_on == "next"), second_order=True)
    torch.testing.assert_close(ours.objective, objective.detach())
    torch.testing.assert_close(gradient(core, ours.surrogate), gradient(core, objective))


@pytest.mark.parametrize("name", LEARNED)
def test_second_order_meta_gradient_of_two_truncations_by_finite_differences(name: str) -> None:
    """Of the second truncation, whose beginning is a constant."""
    core, options = make(name), {"second_order": True, "objective": "log", "judged_on": "next"}
    begun = unroll(core, [2, 4], smooth(0.0), **options)
    begun.truncation([1.0] * 3)
    ours = gradient(core, copy.copy(begun).truncation([1.0] * 4).surrogate)
    numeric = []
    for parameter in core.parameters():
        for i in range(min(3, parameter.numel())):
            ends = []
            for move in (1e-6, -1e-6):
                with torch.no_grad():
                    parameter.view(-1)[i] += move
                again = copy.copy(begun)
                ends.append(float(again.truncation([1.0] * 4).objective))
                with torch.no_grad():
                    parameter.view(-1)[i] -= move
            numeric.append((ends[0] - ends[1]) / 2e-6)
    picked, at = [], 0
    for parameter in core.parameters():
        picked.append(ours[at : at + min(3, parameter.numel())])
        at += parameter.numel()
    torch.testing.assert_close(torch.cat(picked), torch.tensor(numeric, dtype=torch.float64), rtol=1e-4, atol=1e-6)


def test_meta_gradient_by_finite_differences() -> None:
    """One step: what the core sees there does not depend on it, so the first-order gradient is the whole one."""
    core, regularizer = make(), smooth()
    ours = gradient(core, unroll(core, [2], regularizer).truncation([1.0]).surrogate)

    def objective() -> float:
        found = unroll(core, [2], regularizer).truncation([1.0])
        return float(found.loss[0] + found.penalty[0])

    numeric = []
    for parameter in core.parameters():
        flat = parameter.data.view(-1)
        for i in range(len(flat)):
            before, values = float(flat[i]), []
            for move in (1e-5, -1e-5):
                flat[i] = before + move
                values.append(objective())
            flat[i] = before
            numeric.append((values[0] - values[1]) / 2e-5)
    torch.testing.assert_close(ours, torch.tensor(numeric, dtype=torch.float64), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_meta_batch_is_the_mean_over_networks(name: str, reduction: Any) -> None:
    core = make(name)
    regularizer: Regularizer = smooth(reduction=reduction) if core.state_size == 1 else Regularizer()
    weights = step_weights("linear", 0, 5)
    together = unroll(core, [1, 2, 3], regularizer).truncation(weights)
    alone = [unroll(core, [seed], regularizer).truncation(weights) for seed in (1, 2, 3)]
    expected = torch.stack([gradient(core, one.surrogate) for one in alone]).mean(dim=0)
    torch.testing.assert_close(gradient(core, together.surrogate), expected)
    torch.testing.assert_close(together.loss, torch.stack([one.loss for one in alone]).mean(dim=0))
    torch.testing.assert_close(together.penalty, torch.stack([one.penalty for one in alone]).mean(dim=0))


def test_truncations_follow_the_trajectory_of_full_back_propagation() -> None:
    """Same weights after 6 steps in one piece or three; only the gradient is cut."""
    core, regularizer = make(), smooth()
    full, cut = unroll(core, [4], regularizer), unroll(core, [4], regularizer)
    whole = full.truncation([1.0] * 6)
    pieces = [cut.truncation([1.0] * 2) for _ in range(3)]
    torch.testing.assert_close(full.weights, cut.weights, rtol=0, atol=0)
    torch.testing.assert_close(whole.loss, torch.cat([piece.loss for piece in pieces]), rtol=0, atol=0)
    summed = torch.stack([gradient(core, piece.surrogate) for piece in pieces]).sum(dim=0)
    assert not torch.allclose(gradient(core, whole.surrogate), summed)


def test_noise_is_the_same_when_steps_are_recomputed() -> None:
    core, weights = make(), [1.0] * 3
    regularizer = Smoothness(SmoothOptions(weight=3.0, maximum="pgd", pgd_start=0.5))
    kept, again = (
        gradient(core, unroll(core, [5], regularizer, recompute=recompute).truncation(weights).surrogate)
        for recompute in (False, True)
    )
    torch.testing.assert_close(kept, again, rtol=0, atol=0)


def test_memory_is_bounded_by_the_truncation() -> None:
    """What the backward pass keeps per truncation does not grow along the horizon."""
    core = make()
    running = unroll(core, [1], smooth())

    def saved() -> int:
        sizes: list[int] = []

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            running.truncation([1.0] * 5).surrogate.backward()
        return sum(sizes)

    first, later = saved(), [saved() for _ in range(4)]
    assert max(later) <= first


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [("linear", [1, 2, 3]), ("authors_code", [6, 6, 6]), ("uniform", [1, 1, 1]), ("last", [0, 0, 1])],
)
def test_weighting(weighting: Weighting, expected: list[float]) -> None:
    assert step_weights(weighting, 2, 3) == expected
    if weighting == "authors_code":
        assert step_weights(weighting, 0, 3) == [0, 0, 0]


def test_global_random_state_does_not_move() -> None:
    before = torch.random.get_rng_state()
    unroll(make(), [1], Smoothness(SmoothOptions(maximum="pgd")), recompute=True).truncation([1.0] * 3)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("recompute", [False, True])
def test_every_pair_of_optimizer_and_regularizer_has_meta_gradients(
    name: str, regularizer: str, recompute: bool
) -> None:
    chosen = REGULARIZERS[regularizer]()
    core = chosen.attach(make(name))
    assert isinstance(core, CoordinatewiseOptimizer)
    running = unroll(core, [1, 2], chosen, recompute=recompute)
    penalized = torch.zeros(())
    for later in range(2):
        found = running.truncation(step_weights("linear", 0, 3))
        core.zero_grad()
        found.surrogate.backward()
        own = [p for n, p in core.named_parameters() if not (later and n.startswith("starts"))]  # of the first step
        assert all(p.grad is not None and p.grad.isfinite().all() for p in own)
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in core.parameters())
        penalized = found.penalty.sum()
    assert (penalized > 0) == (regularizer not in ("none", "spectral"))
