"""Time of one inner step of meta-training on the general track; the backward pass is part of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import pandas as pd
import torch

from fewshot.engine.unroll import Unroll, step_weights
from fewshot.general.examples import Examples, Part
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
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4096, *shape), dtype=torch.uint8, generator=generator)
    part = Part(images, torch.randint(0, 10, (len(images),), generator=generator))
    examples = Examples("noise", "noise", dict.fromkeys(("train", "val", "test"), part))
    task = Classification("noise", examples, net)
    regularizer, options = SETTINGS[setting]
    core = LEARNED["simple"](torch.Generator().manual_seed(0))
    return Unroll(core, REGULARIZERS[regularizer](options), [task.problem("train", 0, batch_size)], 0)
