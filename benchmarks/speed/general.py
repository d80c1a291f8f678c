"""Time of one inner step of meta-training on the general track, and of test problems side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import pandas as pd
import torch

from fewshot.engine.unroll import Unroll, step_weights
from fewshot.general.evaluate import points, train
from fewshot.general.examples import Examples, Part
from fewshot.general.hand_designed import HAND_DESIGNED, hand_designed
from fewshot.general.stepping import LearnedStepper, StepperFactory
from fewshot.general.tasks import Classification
from fewshot.nets.small import MLP, FlatNet, ThreeLayerCNN
from fewshot.optimizers import LEARNED
from fewshot.regularizers import REGULARIZERS, NoOptions, SmoothOptions

NETS: dict[str, tuple[Callable[[], FlatNet], tuple[int, int, int]]] = {
    "MLP 784-32-10": (lambda: MLP(784, 32, 10), (1, 28, 28)),
    "3-layer CNN": (ThreeLayerCNN, (3, 32, 32)),
}
SETTINGS: dict[str, tuple[str, NoOptions | SmoothOptions]] = {
    "plain": ("none", NoOptions()),
    "smooth, endpoints": ("smooth", SmoothOptions(maximum="endpoints")),
    "smooth, pgd": ("smooth", SmoothOptions(maximum="pgd")),
}


@dataclass(frozen=True)
class UnrollSpeed:
    """Time the inner steps of meta-training `simple`, alternating between settings; medians over rounds."""

    rounds: int = 7
    """Truncations timed of each setting, after one that is not."""
    truncation: int = 20
    """Inner steps in each."""
    batch_size: int = 128
    """Examples per step."""


TESTED: dict[str, tuple[Callable[[], FlatNet], tuple[int, int, int], tuple[int, int]]] = {
    "digits_mlp": (lambda: MLP(64, 32, 10), (1, 8, 8), (1197, 300)),
    "mnist_mlp": (lambda: MLP(784, 32, 10), (1, 28, 28), (55_000, 10_000)),
}
"""Networks, images, and numbers of training and held-out examples, of tasks of these names."""


@dataclass(frozen=True)
class TogetherSpeed:
    """Time test problems trained side by side, scores included, against one after the other, on noise."""

    problems: int = 25
    """Networks."""
    optimizers: tuple[str, ...] = ("adam", "simple")
    """Hand-designed ones, or learned ones at their initial weights."""
    steps: int = 50
    """Of each training; a tenth as many points of the curve."""
    rounds: int = 3
    """Pairs timed, after one that is not; the median of each is shown, and of the pairs' ratios."""


def measure_together(command: TogetherSpeed) -> pd.DataFrame:
    """A line per task and optimizer: seconds of either way, and how many times as fast side by side is."""
    lines = []
    for name, (net, shape, sizes) in TESTED.items():
        task = _noise(net(), shape, *sizes)
        problems = [task.problem("test", seed, 128) for seed in range(command.problems)]
        for optimizer in command.optimizers:
            start = _stepper(optimizer, command.steps)
            at = points(command.steps, max(2, command.steps // 10 + 1))
            times: list[tuple[float, float]] = []
            for _ in range(command.rounds + 1):
                began = time.perf_counter()
                train(problems, start, command.steps, at)
                between = time.perf_counter()
                for problem in problems:
                    train([problem], start, command.steps, at)
                times.append((between - began, time.perf_counter() - between))
            beside, alone = zip(*times[1:], strict=True)
            ratio = median(b / a for a, b in times[1:])
            line = {"task": name, "optimizer": optimizer, "problems": command.problems}
            lines.append({**line, "side by side (s)": median(beside), "one by one (s)": median(alone), "times": ratio})
    return pd.DataFrame(lines)


def _stepper(optimizer: str, steps: int) -> StepperFactory:
    if optimizer in HAND_DESIGNED:
        return hand_designed(optimizer, 1e-3, steps)
    core = LEARNED.find(optimizer)(torch.Generator().manual_seed(0))
    return lambda weights: LearnedStepper(core, weights)


def _noise(net: FlatNet, shape: tuple[int, int, int], train_size: int, test_size: int) -> Classification:
    generator = torch.Generator().manual_seed(0)
    parts = []
    for size in (train_size, test_size):
        images = torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=generator)
        parts.append(Part(images, torch.randint(0, 10, (size,), generator=generator)))
    examples = Examples("noise", "noise", dict(zip(("train", "val", "test"), (*parts, parts[1]), strict=True)))
    return Classification("noise", examples, net)


def measure_unroll(command: UnrollSpeed) -> pd.DataFrame:
    """A line per network and setting: milliseconds per inner step, and how many times those of the plain setting."""
    lines = []
    for name, (net, shape) in NETS.items():
        runs = {setting: _unroll(net(), shape, setting, command.batch_size) for setting in SETTINGS}
        times: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
        for turn in range(command.rounds + 1):
            for setting, unroll in runs.items():
                started = time.perf_counter()
                passed = unroll.truncation(step_weights("linear", 0, command.truncation))
                torch.autograd.grad(passed.surrogate, list(unroll.core.parameters()))
                if turn:
                    times[setting].append(1000 * (time.perf_counter() - started) / command.truncation)
        plain = median(times["plain"])
        lines += [
            {"network": name, "setting": s, "ms per step": median(t), "times plain": median(t) / plain}
            for s, t in times.items()
        ]
    return pd.DataFrame(lines)


def _unroll(net: FlatNet, shape: tuple[int, int, int], setting: str, batch_size: int) -> Unroll:
    task = _noise(net, shape, 4096, 1)
    regularizer, options = SETTINGS[setting]
    core = LEARNED["simple"](torch.Generator().manual_seed(0))
    return Unroll(core, REGULARIZERS[regularizer](options), [task.problem("train", 0, batch_size)], 0)
