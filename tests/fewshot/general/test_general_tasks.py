"""Every task keeps the contract; networks have the published numbers of weights; hand-designed means torch.optim."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from schedulefree import AdamWScheduleFree

from fewshot.data.store import TokenSplit, writing
from fewshot.errors import InputError
from fewshot.general.evaluate import points, train
from fewshot.general.examples import Examples, Part
from fewshot.general.hand_designed import HAND_DESIGNED, GridOptions, choose_rate, hand_designed
from fewshot.general.stepping import LearnedStepper, loss_and_gradient
from fewshot.general.tasks import BINARY_CLASSES, TASKS, Classification, Quadratic, Task, open_task
from fewshot.nets.resnet import ResNet18
from fewshot.nets.small import MLP, DigitsCNN, FlatNet, LeNet, ThreeLayerCNN
from fewshot.optimizers import LEARNED
from fewshot.vision import models

CPU = torch.device("cpu")
SETS = {"mnist": (28, 1, 10), "cifar10": (32, 3, 10), "cifar100": (32, 3, 100), "tiny_imagenet": (64, 3, 200)}
RESNETS = [name for name in TASKS if "resnet" in name]


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Miniatures of the prepared datasets: images of noise, sizes just above those of the validation parts."""
    folder = tmp_path_factory.mktemp("sets")
    for name, (size, channels, classes) in SETS.items():
        train = (10_100 if name == "tiny_imagenet" else 5_400) // classes
        with writing(folder / f"{name}.h5", name, sources={}, resize="none") as writer:
            for number, (split, each) in enumerate({"train": train + 1, "test": 2}.items()):
                writer.add_split(split, {str(c): each for c in range(classes)}, (size, size, channels))
                total = each * classes
                noise = np.random.default_rng(number).integers(0, 256, (64, size, size, channels), dtype=np.uint8)
                writer.write(split, 0, np.resize(noise, (total, size, size, channels)), ["x"] * total)
    with writing(folder / "imdb.h5", "imdb", sources={}, resize="none") as writer:
        writer.add_vocabulary([str(word) for word in range(50)])
        for number, (split, each) in enumerate({"train": 2_600, "test": 30}.items()):
            writer.add_split(split, {"neg": each, "pos": each}, (12,), TokenSplit)
            noise = np.random.default_rng(number).integers(0, 50, (2 * each, 12), dtype=np.uint16)
            writer.write(split, 0, noise, ["x"] * (2 * each))
    return folder


@pytest.mark.parametrize("name", [name for name in TASKS if name not in RESNETS])
@pytest.mark.parametrize("stage", ["train", "val", "test"])
def test_task_contract(name: str, stage, sets: Path) -> None:
    task = open_task(name, sets, CPU)
    state = torch.random.get_rng_state()
    one, same, other = (task.problem(stage, seed, 16) for seed in (1, 1, 2))
    weights = one.init()
    assert weights.ndim == 1
    assert len(weights) == task.facts()["weights"]
    assert torch.equal(weights, same.init())
    assert not torch.equal(weights, other.init())
    loss, gradient = loss_and_gradient(one, weights, one.batch(3))
    again, _ = loss_and_gradient(same, weights, same.batch(3))  # a batch needs no earlier one
    assert torch.equal(loss, again)
    assert gradient.shape == weights.shape
    assert gradient.abs().sum() > 0
    assert not torch.equal(loss, loss_and_gradient(one, weights, one.batch(4))[0])
    for score in (one.training_score(weights), one.held_out_score(weights)):
        assert math.isfinite(float(score.loss))
        assert score.accuracy is None or 0 <= float(score.accuracy) <= 1
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name].dataset])
def test_a_task_without_data_names_the_command(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"python -m data_prep\.\w+ --out"):
        open_task(name, tmp_path, CPU)


@pytest.mark.parametrize(
    ("net", "weights"), [(MLP(784, 32, 10), 25_450), (DigitsCNN(), 3130), (LeNet(), 21_840), (ThreeLayerCNN(), 20_682)]
)
def test_number_of_weights(net: FlatNet, weights: int) -> None:
    assert net.layout.total == weights == len(net.init(torch.Generator()))


def test_resnet_is_torchvisions_with_another_stem() -> None:
    net, theirs = ResNet18(7), models.resnet18(num_classes=7)
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = torch.nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    weights = net.init(torch.Generator().manual_seed(0))
    names = [name for name, _ in theirs.named_parameters()]
    assert names == list(net.layout.shapes)
    assert torch.isfinite(weights).all()
    theirs.load_state_dict({**theirs.state_dict(), **net.layout.unflatten(weights)})
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(weights, images), theirs.train()(images))
    assert torch.equal(weights, net.init(torch.Generator().manual_seed(0)))


def test_binary_problems_keep_classes_of_stages_apart(sets: Path) -> None:
    stages = [set(classes) for classes in BINARY_CLASSES.values()]
    assert [len(s) for s in stages] == [6, 2, 2]
    assert len(set.union(*stages)) == 10
    task = open_task("cifar10_binary", sets, CPU)
    problem = task.problem("train", 3, 50)
    assert set(problem.batch(0).labels.tolist()) == {0, 1}


def test_parts_of_a_dataset_are_disjoint_and_whole(sets: Path) -> None:
    task = open_task("digits_mlp", sets, CPU)
    assert isinstance(task, Classification)
    assert task.examples.sizes() == {"train": 1197, "val": 300, "test": 300}
    images = torch.cat([part.inputs for part in task.examples.parts.values()]).flatten(1)
    assert len(images.unique(dim=0)) == 1797  # all images of this dataset differ


def test_an_epoch_sees_every_example_once() -> None:
    images = torch.arange(12, dtype=torch.uint8).repeat_interleave(64).view(12, 1, 8, 8)
    part = Part(images, torch.zeros(12, dtype=torch.int64))
    task = Classification("t", Examples("t", "t", {"train": part, "val": part, "test": part}), MLP(64, 4, 2))
    problem = task.problem("train", 0, 4)
    seen = [tuple(sorted((problem.batch(s).inputs[:, 0, 0, 0] * 255).round().int().tolist())) for s in range(6)]
    assert sorted(sum(seen[:3], ())) == sorted(sum(seen[3:], ())) == list(range(12))
    assert seen[:3] != seen[3:]


@pytest.mark.parametrize("name", HAND_DESIGNED)
def test_hand_designed_is_torch_optim_exactly(name: str, sets: Path) -> None:
    problem = open_task("digits_mlp", sets, CPU).problem("test", 0, 32)
    parameter = torch.nn.Parameter(problem.init())
    arguments = {
        "sgd": (torch.optim.SGD, {}),
        "sgdm": (torch.optim.SGD, {"momentum": 0.9}),
        "adam": (torch.optim.Adam, {}),
        "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
        "rmsprop": (torch.optim.RMSprop, {}),
        "adamw_cosine": (torch.optim.AdamW, {}),
        "schedule_free": (AdamWScheduleFree, {}),
    }[name]
    optimizer = arguments[0]([parameter], lr=0.01, **arguments[1])
    if name == "schedule_free":
        optimizer.train()
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5) if name == "adamw_cosine" else None
    for step in range(5):
        optimizer.zero_grad()
        problem.loss(parameter, problem.batch(step)).backward()
        optimizer.step()
        if rates is not None:
            rates.step()
    if name == "schedule_free":
        optimizer.eval()  # its average is what counts
    (ours,) = train([problem], hand_designed(name, 0.01, 5), 5)
    expected = problem.held_out_score(parameter.detach())
    assert expected.accuracy is not None
    assert ours.test_loss == pytest.approx([float(expected.loss)], rel=1e-6)  # torch's schedule is recursive
    assert ours.test_accuracy == [float(expected.accuracy)]


def poisoned(task: Task, part: str) -> Classification:
    """The task with noise for one part."""
    assert isinstance(task, Classification)
    found = task.examples.parts[part]
    noise = torch.randint(0, 10, found.labels.shape, generator=torch.Generator().manual_seed(0))
    parts = {**task.examples.parts, part: Part(255 - found.inputs, noise)}
    return Classification(task.name, replace(task.examples, parts=parts), task.net)


def test_choice_of_the_rate_never_sees_test_data(sets: Path) -> None:
    task, options = open_task("digits_mlp", sets, CPU), GridOptions(points=3)

    def grid(of: Task) -> object:
        return choose_rate("sgd", options, [of.problem("val", 0, 64)], 8)

    assert grid(task) == grid(poisoned(task, "test"))
    assert grid(task) != grid(poisoned(task, "val"))


def test_grid() -> None:
    assert GridOptions(points=5).rates() == [1e-4, 1e-3, 1e-2, 0.1, 1.0]
    with pytest.raises(InputError, match=r"training\.low"):
        GridOptions(low=0)
    with pytest.raises(InputError, match=r"training\.validation_problems is 2; it must be at least 3"):
        GridOptions(validation_problems=2)


def test_a_rate_at_the_border_of_its_grid_is_told() -> None:
    group = [Quadratic().problem("val", seed, 40) for seed in range(3)]
    for low, high, border in ((1e-5, 1e-2, "highest"), (0.35, 10.0, "lowest"), (1e-3, 10.0, None)):
        assert choose_rate("sgd", GridOptions(low=low, high=high, points=5), group, 20).border == border
    assert choose_rate("sgd", GridOptions(low=0.1, high=0.1, points=1), group, 20).border is None


def test_scoring_does_not_disturb_an_optimizer_that_averages() -> None:
    problem = Quadratic().problem("test", 0, 8)
    often, once = (train([problem], hand_designed("schedule_free", 0.1, 30), 30, at)[0] for at in (range(31), [30]))
    assert often.test_loss[-1] == once.test_loss[-1]


def test_divergence_is_recorded_as_divergence() -> None:
    problem = Quadratic().problem("test", 0, 8)
    (curve,) = train([problem], hand_designed("sgd", 50.0, 100), 100, points(100, 11))
    assert curve.diverged_at is not None
    assert curve.step[-1] < curve.diverged_at <= 100
    assert all(map(math.isfinite, curve.test_loss))
    assert len(curve.test_loss) == len(curve.step)
    (short,) = train([problem], hand_designed("sgd", 50.0, 100), curve.diverged_at - 1)
    assert short.diverged_at is None, "one step less is finite"
    rate, grid = choose_rate("sgd", GridOptions(low=40, high=50, points=2), [problem], 100)
    assert rate is None
    assert [point["validation_loss"] for point in grid] == [None, None]


@pytest.mark.parametrize("name", HAND_DESIGNED)
def test_hand_designed_converges_on_the_quadratic(name: str) -> None:
    task = Quadratic()
    options = GridOptions(points=9, batch_size=40)
    rate, _ = choose_rate(name, options, [task.problem("val", 0, 40)], 200)
    assert rate is not None
    (curve,) = train([task.problem("test", 0, 40)], hand_designed(name, rate, 200), 200, [0, 200])
    assert curve.test_loss[1] < 0.02 * curve.test_loss[0]
    assert curve.train_accuracy is None


def test_points_hold_both_ends() -> None:
    assert points(200, 5) == [0, 50, 100, 150, 200]
    assert points(3, 21) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", LEARNED)
def test_rows_in_chunks_are_rows_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    core = LEARNED[name](torch.Generator().manual_seed(0))
    weights, gradients = torch.randn(50, generator=torch.Generator().manual_seed(1)), torch.linspace(-1, 2, 150)

    def run() -> torch.Tensor:
        stepper, now = LearnedStepper(core, weights), weights
        for gradient in gradients.split(50):
            now = stepper.step(now, gradient)
        return now

    whole = run()
    monkeypatch.setattr("fewshot.optimizers.blocks.BLOCK", 7)
    torch.testing.assert_close(run(), whole)
