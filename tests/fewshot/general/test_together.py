"""Networks trained side by side are networks trained alone, whatever stands beside them."""

from __future__ import annotations

import math

import pytest
import torch

import fewshot.general.together as module
from fewshot.general.evaluate import Curve, final_losses, train
from fewshot.general.examples import Examples, Part
from fewshot.general.hand_designed import HAND_DESIGNED, hand_designed, train_grid
from fewshot.general.stepping import LearnedStepper, StepperFactory, loss_and_gradient
from fewshot.general.tasks import BINARY_CLASSES, Classification, Problem, Quadratic
from fewshot.general.together import OneByOne, SideBySide, networks_at_once, together
from fewshot.general.variation import VariationOptions, varied
from fewshot.nets.small import MLP, DigitsCNN, FlatNet
from fewshot.optimizers import LEARNED
from fewshot.registry import Registry

AT = [0, 7, 20]


def noise(net: FlatNet, classes: int = 10, pair: bool = False) -> Classification:
    """A task on noise, of normalized images."""

    def part(number: int, size: int) -> Part:
        generator = torch.Generator().manual_seed(number)
        images = torch.randint(0, 256, (size, 1, 8, 8), dtype=torch.uint8, generator=generator)
        return Part(images, torch.arange(size) % classes)

    parts = {"train": part(0, 2400), "val": part(1, 1100), "test": part(2, 90)}
    examples = Examples("noise", "noise", parts, (0.4,), (0.3,))
    return Classification("noise", examples, net, classes=BINARY_CLASSES if pair else None)


def problems(task: Classification | Quadratic, count: int, stage="test") -> list[Problem]:
    return [task.problem(stage, seed, 32) for seed in range(count)]


def optimizer(name: str, dtype: torch.dtype = torch.float32) -> StepperFactory:
    if name in HAND_DESIGNED:
        return hand_designed(name, 0.01, AT[-1])
    core = LEARNED[name](torch.Generator().manual_seed(0)).to(dtype)
    return lambda weights: LearnedStepper(core, weights)


def values(curves: list[Curve]) -> torch.Tensor:
    assert all(curve.step == AT and curve.diverged_at is None for curve in curves)
    names = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
    return torch.tensor([[getattr(curve, name) for name in names] for curve in curves], dtype=torch.float64)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs and initial weights are float64."""
    view, init = Examples.view, MLP.init
    monkeypatch.setattr(Examples, "view", lambda self, inputs: view(self, inputs).double())
    monkeypatch.setattr(MLP, "init", lambda self, generator: init(self, generator).double())


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", [*LEARNED, *HAND_DESIGNED])
def test_side_by_side_is_one_by_one_in_float64(name: str) -> None:
    group = problems(noise(MLP(64, 8, 10)), 5)
    assert isinstance(together(group), SideBySide)
    start = optimizer(name, torch.float64)
    alone = [curve for problem in group for curve in train([problem], start, AT[-1], AT)]
    torch.testing.assert_close(values(train(group, start, AT[-1], AT)), values(alone), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["simple", "rnnprop", "adam"])
def test_side_by_side_is_one_by_one_in_float32(name: str) -> None:
    group = problems(noise(MLP(64, 8, 10)), 5)
    alone = [curve for problem in group for curve in train([problem], optimizer(name), AT[-1], AT)]
    found = values(train(group, optimizer(name), AT[-1], AT))
    torch.testing.assert_close(found[:, :2], values(alone)[:, :2], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("double")
def test_losses_gradients_and_scores_are_each_problems_own() -> None:
    group = problems(noise(MLP(64, 8, 10)), 4)
    side, weights = SideBySide(group), torch.stack([problem.init() for problem in group])  # pyright: ignore[reportArgumentType]
    losses, gradients = side.loss_and_gradient(weights, 3)
    for i, problem in enumerate(group):
        loss, gradient = loss_and_gradient(problem, weights[i], problem.batch(3))
        torch.testing.assert_close(losses[i], loss)
        torch.testing.assert_close(gradients[i], gradient)
        for both in ("training_score", "held_out_score"):
            found, expected = getattr(side, both)(weights), getattr(problem, both)(weights[i])
            torch.testing.assert_close(found.loss[i], expected.loss, check_dtype=False)
            assert float(found.accuracy[i]) == float(expected.accuracy)


@pytest.mark.parametrize("net", [MLP(64, 8, 10), DigitsCNN()])
def test_who_is_beside_changes_rounding_alone(net: FlatNet, monkeypatch: pytest.MonkeyPatch) -> None:
    group = problems(noise(net), 5)
    whole = values(train(group, optimizer("adam"), AT[-1], AT))
    monkeypatch.setattr(module, "NETWORKS_AT_ONCE", 2)
    assert networks_at_once(group) == 2
    torch.testing.assert_close(values(train(group, optimizer("adam"), AT[-1], AT)), whole, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(module, "WEIGHTS_AT_ONCE", 1)
    assert networks_at_once(group) == 1


@pytest.mark.parametrize(
    "group",
    [
        problems(noise(DigitsCNN()), 2),
        problems(noise(MLP(64, 8, 2), pair=True), 2),
        problems(Quadratic(), 2),
        problems(noise(MLP(64, 8, 10)), 1),
        [noise(MLP(64, 8, 10)).problem("test", 0, size) for size in (16, 32)],
        [varied(p, VariationOptions(scaling=1.0), 0) for p in problems(noise(MLP(64, 8, 10)), 2)],
    ],
    ids=["convolutions", "pairs of classes", "quadratic", "one", "other batches", "varied"],
)
def test_what_cannot_be_stacked_runs_one_by_one(group: list[Problem]) -> None:
    assert isinstance(together(group), OneByOne)
    start = optimizer("sgd")
    alone = [final_losses([problem], start, 5)[0] for problem in group]
    assert final_losses(group, start, 5) == pytest.approx(alone, rel=1e-5)


class Explodes(Problem):
    """A quadratic whose loss is not finite from some step on."""

    def __init__(self, seed: int, step: int) -> None:
        self.whole, self.at = Quadratic().problem("test", seed, 8), step
        self.init, self.training_score = self.whole.init, self.whole.training_score
        self.held_out_score = self.whole.held_out_score

    def batch(self, step: int) -> tuple[int, torch.Tensor]:
        return step, self.whole.batch(step)

    def loss(self, weights: torch.Tensor, batch: tuple[int, torch.Tensor]) -> torch.Tensor:
        return self.whole.loss(weights, batch[1]) * (math.nan if batch[0] >= self.at else 1.0)


@pytest.mark.parametrize("name", ["simple", "dm", "adam", "schedule_free"])
def test_divergence_of_one_is_its_own(name: str) -> None:
    group: list[Problem] = [Explodes(0, 99), Explodes(1, 9), Explodes(2, 99), Explodes(3, 0)]
    curves = train(group, optimizer(name), AT[-1], AT)
    assert [curve.diverged_at for curve in curves] == [None, 9, None, 0]
    assert [curve.step for curve in curves] == [AT, [0, 7], AT, [0]]
    for i in (0, 2):
        (alone,) = train([group[i]], optimizer(name), AT[-1], AT)
        assert curves[i].test_loss == pytest.approx(alone.test_loss, rel=1e-5)


def test_a_network_that_explodes_side_by_side_does_not_touch_the_others() -> None:
    group = problems(noise(MLP(64, 8, 10)), 4)
    init = group[1].init
    group[1].init = lambda: init() * 1e38  # type: ignore[method-assign]
    curves = train(group, optimizer("adam"), AT[-1], AT)
    assert [curve.diverged_at for curve in curves] == [None, 0, None, None]
    assert curves[1].step == []
    for i in (0, 2, 3):
        (alone,) = train([group[i]], optimizer("adam"), AT[-1], AT)
        assert curves[i].test_loss == pytest.approx(alone.test_loss, rel=1e-4)


@pytest.mark.parametrize("at_once", [1, 3, 6, 32])
@pytest.mark.parametrize("name", ["sgdm", "adamw_cosine"])
def test_a_grid_is_each_rate_alone(name: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NETWORKS_AT_ONCE", at_once)
    group, rates = problems(noise(MLP(64, 8, 10)), 3, "val"), [1e-3, 1e-2, 1e-1]
    found = train_grid(name, rates, group, AT[-1], AT)
    for rate, curves in zip(rates, found, strict=True):
        alone = train(group, hand_designed(name, rate, AT[-1]), AT[-1], AT)
        torch.testing.assert_close(values(curves)[:, :2], values(alone)[:, :2], rtol=1e-4, atol=1e-5)


def test_an_optimizer_that_is_not_elementwise_sees_one_network_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Normalized(torch.optim.SGD):
        """Steps along the gradient's direction, of length lr."""

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    assert p.ndim == 1
                    p.grad = p.grad / p.grad.norm()
            return super().step(closure)

    registry = Registry("hand-designed optimizer")
    registry.register("normalized", Normalized)
    monkeypatch.setattr("fewshot.general.hand_designed.HAND_DESIGNED", registry)
    group, rates = problems(noise(MLP(64, 8, 10)), 3), [0.01, 0.1]
    for rate, curves in zip(rates, train_grid("normalized", rates, group, AT[-1], AT), strict=True):
        alone = [train([p], hand_designed("normalized", rate, AT[-1]), AT[-1], AT)[0] for p in group]
        torch.testing.assert_close(values(curves)[:, :2], values(alone)[:, :2], rtol=1e-4, atol=1e-5)


def test_progress_counts_every_step_of_every_network_once() -> None:
    group = problems(noise(MLP(64, 8, 10)), 3)
    told: list[int] = []
    train(group, optimizer("sgd"), 23, [0, 23], told.append)
    assert sum(told) == 3 * 23
    told.clear()
    train([Explodes(0, 4), Explodes(1, 13)], optimizer("sgd"), 40, [0, 15, 40], told.append)
    assert sum(told) == 2 * 40
