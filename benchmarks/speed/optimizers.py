"""How fast learned optimizers are here: a step of the drop-in on ResNet-18, and inner steps of the cores alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

from fewshot.optimizers import LEARNED, NeuralOptimizer
from fewshot.optimizers.plain import ByEquation
from fewshot.optimizers.torch_optimizer import LearnedOptimizer
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions, inner_step


@dataclass(frozen=True)
class DropIn:
    """Time steps of `fewshot.LearnedOptimizer` on torchvision's ResNet-18, beside Adam's; gradients are random."""

    optimizers: tuple[str, ...] = ("simple",)
    """Learned optimizers, at their initial weights: time does not depend on those."""
    rounds: int = 5
    """Steps timed of each; the median is shown."""
    threads: int = 0
    """Threads of torch; 0 leaves the default."""


@dataclass(frozen=True)
class Cores:
    """Time an inner step of meta-training of a core alone, backward pass included: plain, with endpoints, with PGD."""

    optimizer: str = "simple"
    """Key of LEARNED."""
    rows: int = 25_450
    """Weights of the optimizee."""
    steps: int = 20
    """Inner steps of an unroll."""
    rounds: int = 7
    """Unrolls timed of each; the median is shown."""
    threads: int = 0
    """Threads of torch; 0 leaves the default."""


def measure_drop_in(command: DropIn) -> pd.DataFrame:
    """A line an optimizer: weights, seconds a step, and MiB that its first step adds to the resident memory's peak."""
    from fewshot.vision import models

    _use(command.threads)
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
        model = models.resnet18(weights=None)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = 0.01 * torch.randn(parameter.shape, generator=generator)
    lines = []
    for name in command.optimizers:
        _forget_peak()
        before = _memory("VmRSS")
        optimizer = LearnedOptimizer(model.parameters(), LEARNED[name](torch.Generator().manual_seed(0)))
        optimizer.step()  # allocates its memory
        grown = _memory("VmHWM") - before
        adam = torch.optim.Adam(model.parameters(), 0.0)
        adam.step()
        times = _alternate({"learned": optimizer.step, "adam": adam.step}, command.rounds)
        line = {"optimizer": name, "weights": sum(p.numel() for p in model.parameters())}
        line |= {"s/step": median(times["learned"]), "times Adam": _ratio(times, "learned", "adam")}
        lines.append({**line, "extra MiB": grown})
        del optimizer, adam
    return pd.DataFrame(lines)


def measure_cores(command: Cores) -> pd.DataFrame:
    """A line a way to smooth: milliseconds an inner step, how many times a plain one, and how many times as long it
    takes by the core's equation alone, without what is written for speed."""
    _use(command.threads)
    core = LEARNED[command.optimizer](torch.Generator().manual_seed(0))
    regularizers = {"plain": Regularizer()}
    if core.state_size == 1:
        regularizers["endpoints"] = Smoothness(SmoothOptions(maximum="endpoints"))
    regularizers["pgd"] = Smoothness(SmoothOptions(maximum="pgd"))
    unrolls = {name: _unroll(core, regularizer, command) for name, regularizer in regularizers.items()}
    plain = {f"{name} by equation": _unroll(ByEquation(core), each, command) for name, each in regularizers.items()}
    times = _alternate(unrolls | plain, command.rounds)
    return pd.DataFrame(
        {
            "inner step": name,
            "ms": 1000 * median(times[name]) / command.steps,
            "times plain": _ratio(times, name, "plain"),
            "by equation, times": _ratio(times, f"{name} by equation", name),
        }
        for name in regularizers
    )


def _unroll(core: NeuralOptimizer, regularizer: Regularizer, command: Cores) -> Callable[[], Any]:
    """An unroll on noise whose meta-loss depends on every step."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(command.steps, command.rows, core.state_size, generator=generator)
    slope = torch.randn(command.rows, 1, generator=generator)

    def unroll() -> None:
        hidden, weights, loss = core.init_hidden(command.rows), torch.zeros(command.rows, 1), torch.zeros(())
        for state in states:
            step, penalty = inner_step(core, regularizer, state, hidden)
            weights, hidden = weights + step.update, step.next_hidden
            loss = loss + (slope * weights).mean() + penalty
        torch.autograd.grad(loss, list(core.parameters()))

    return unroll


def _alternate(actions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each action in every round but a first one, in which all warm up."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for round_ in range(rounds + 1):
        for name, action in actions.items():
            started = time.perf_counter()
            action()
            if round_:
                times[name].append(time.perf_counter() - started)
    return times


def _ratio(times: Mapping[str, list[float]], name: str, base: str) -> float:
    return median(a / b for a, b in zip(times[name], times[base], strict=True))


def _use(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


def _memory(field: str) -> float:
    """VmRSS or VmHWM (its peak) of this process in MiB; NaN where the system does not tell."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
        return int(fields[field].split()[0]) / 1024
    except (OSError, KeyError):
        return float("nan")


def _forget_peak() -> None:
    """Let the peak start afresh from what is resident now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
