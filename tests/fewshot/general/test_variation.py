"""Random scaling and the convex part against plain loops; without them nothing changes by a bit."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fewshot.engine.unroll import Unroll, step_weights
from fewshot.errors import InputError
from fewshot.general.stepping import loss_and_gradient
from fewshot.general.tasks import Quadratic
from fewshot.general.variation import ConvexPart, Joined, Scaled, VariationOptions, varied
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.regularizers import Regularizer

TASK = Quadratic(size=5, rows=12, dtype=torch.float64)
PUBLISHED = VariationOptions(scaling=3.0, convex=20, convex_scaling=1.0)


def network(seed: int = 1):
    return TASK.problem("train", seed, 8)


def core(name: str = "simple") -> CoordinatewiseOptimizer:
    made = LEARNED[name](torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    return made


def test_function_and_start_are_the_same() -> None:
    plain, scaled = network(), Scaled(network(), 3.0, seed=4)
    start, batch = scaled.init(), plain.batch(2)
    assert not torch.allclose(start, plain.init())
    torch.testing.assert_close(scaled.loss(start, batch), plain.loss(plain.init(), batch))
    torch.testing.assert_close(scaled.held_out_score(start).loss, plain.held_out_score(plain.init()).loss)


def test_gradient_is_that_of_a_plain_loop() -> None:
    """c ⊙ ∇f(c ⊙ x), one number at a time."""
    scaled = Scaled(network(), 2.0, seed=4)
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)
    c = [math.exp(v) for v in scaled.scale(x).log().tolist()]
    assert len(set(c)) == 5
    batch = scaled.batch(0)
    matrix, target = scaled.problem.matrix[batch].tolist(), scaled.problem.target[batch].tolist()  # pyright: ignore[reportAttributeAccessIssue]
    errors = [sum(row[j] * c[j] * float(x[j]) for j in range(5)) - y for row, y in zip(matrix, target, strict=True)]
    expected = [
        c[j] * sum(2 * e * row[j] for e, row in zip(errors, matrix, strict=True)) / len(errors) for j in range(5)
    ]
    loss, gradient = loss_and_gradient(scaled, x, batch)
    assert float(loss) == pytest.approx(sum(e * e for e in errors) / len(errors))
    assert gradient.tolist() == pytest.approx(expected)


def test_scales_have_their_distribution_and_are_functions_of_the_seed() -> None:
    like = torch.zeros(20_000)
    exponents = Scaled(network(), 3.0, seed=1).scale(like).log()
    assert exponents.abs().max() <= 3.0 + 1e-5
    assert exponents.mean().abs() < 0.05
    assert float(exponents.std()) == pytest.approx(3 / math.sqrt(3), rel=0.02)
    assert torch.equal(exponents, Scaled(network(), 3.0, seed=1).scale(like).log())
    assert not torch.equal(exponents, Scaled(network(), 3.0, seed=2).scale(like).log())


def test_scaling_of_zero_changes_nothing() -> None:
    plain, scaled = network(), Scaled(network(), 0.0, seed=4)
    runs = [Unroll(core(), Regularizer(), [problem], 0) for problem in (plain, scaled)]
    losses = [run.truncation(step_weights("linear", 0, 5)).loss for run in runs]
    assert torch.equal(*losses)
    assert torch.equal(runs[0].weights, runs[1].weights)


def test_no_variation_is_the_problem_itself() -> None:
    problem = network()
    assert varied(problem, VariationOptions(), 0) is problem


def test_convex_part() -> None:
    problem = ConvexPart(20, seed=2)
    x = torch.linspace(-5, 5, 20, dtype=torch.float64)
    a = problem.target.tolist()
    terms = [min((float(v) - w) ** 2, 10.0) for v, w in zip(x, a, strict=True)]
    loss, gradient = loss_and_gradient(problem, x, None)
    assert float(loss) == pytest.approx(sum(terms) / 20)
    slopes = [2 * (float(v) - w) / 20 if t < 10 else 0.0 for v, w, t in zip(x, a, terms, strict=True)]
    assert gradient.tolist() == pytest.approx(slopes)
    assert 0.0 in slopes
    assert problem.init().tolist() == [0.0] * 20
    assert all(-1 <= w <= 1 for w in a)
    assert len(set(a)) == 20


def test_joined_problems_are_trained_side_by_side() -> None:
    first, second = network(), ConvexPart(3, seed=1)
    joined = Joined(first, second)
    start = joined.init()
    assert start.dtype == torch.float64
    assert start.tolist() == [*first.init().tolist(), 0.0, 0.0, 0.0]
    x, batch = start + 0.3, joined.batch(4)
    loss, gradient = loss_and_gradient(joined, x, batch)
    parts = loss_and_gradient(first, x[:5], first.batch(4)), loss_and_gradient(second, x[5:], None)
    torch.testing.assert_close(loss, parts[0][0] + parts[1][0])
    torch.testing.assert_close(gradient, torch.cat([gradient for _, gradient in parts]))
    score = joined.training_score(x)
    torch.testing.assert_close(score.loss, first.training_score(x[:5]).loss + second.training_score(x[5:]).loss)


@pytest.mark.parametrize("name", ["simple", "dm", "rnnprop"])
def test_meta_gradient_on_a_varied_problem_is_that_of_a_plain_loop(name: str) -> None:
    """Scales and the convex part written out; one graph through network and core."""
    made, weights = core(name), step_weights("linear", 0, 4)
    problem = varied(network(), PUBLISHED, 9)
    ours = Unroll(made, Regularizer(), [problem], 0).truncation(weights)
    c = torch.cat([problem.first.scale(torch.zeros(5).double()), problem.second.scale(torch.zeros(20).double())])  # pyright: ignore[reportAttributeAccessIssue]
    a = problem.second.problem.target.double()  # pyright: ignore[reportAttributeAccessIssue]
    plain = network()

    def f(theta: Tensor, step: int) -> Tensor:
        moved = c * theta
        return plain.loss(moved[:5], plain.batch(step)) + torch.minimum((moved[5:] - a) ** 2, a.new_tensor(10)).mean()

    theta = torch.cat([plain.init() / c[:5], torch.zeros(20, dtype=torch.float64)])
    hidden, memory = made.init_hidden(25), made.features.init(theta[None])
    total = theta.new_zeros(())
    for step, weight in enumerate(weights):
        leaf = theta.detach().requires_grad_()
        (g,) = torch.autograd.grad(f(leaf, step), leaf)
        state, memory = made.features(g[None], theta[None], memory)
        update, hidden = made(state[0], hidden)
        theta = theta + update[:, 0]
        total = total + weight * f(theta, step)
    expected = torch.autograd.grad(total, list(made.parameters()))
    for found, wanted in zip(torch.autograd.grad(ours.surrogate, list(made.parameters())), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_draws_leave_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    varied(network(), PUBLISHED, 0).init()
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": -1.0}, r"variation\.scaling is -1"),
        ({"scaling": math.inf}, r"variation\.scaling"),
        ({"convex": -1}, r"variation\.convex is -1"),
        ({"convex_scaling": 1.0}, r"set training\.variation\.convex"),
    ],
)
def test_options_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(VariationOptions(), **options)  # pyright: ignore[reportArgumentType]
