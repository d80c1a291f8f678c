"""How fast learned optimizers are here: steps of the drop-in beside Adam's, and inner steps of the cores alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import pandas as pd
import torch
from torch import nn

from fewshot.optimizers import LEARNED, NeuralOptimizer
from fewshot.optimizers.plain import ByEquation
from fewshot.optimizers.torch_optimizer import LearnedOptimizer
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions, inner_step


@dataclass(frozen=True)
class DropIn:
    """Time steps of `fewshot.LearnedOptimizer` beside Adam's, in turn, and weigh their states; gradients are random."""

    optimizers: tuple[str, ...] = ("smoothed_simple", "rnnprop")
    """Names of shipped optimizers, or files of others."""
    networks: tuple[Literal["small", "mlp", "resnet18"], ...] = ("small", "mlp", "resnet18")
    """Layers of 64-32-10 and of 784-256-10, and torchvision's ResNet-18."""
    state_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the hidden state."""
    rounds: int = 9
    """Steps timed of each; the fastest is shown, since whatever else the machine does only adds."""
    threads: int = 0
    """Threads of torch; 0 leaves the default. With 1, processor time is measured: what other programs take is no part
    of it."""


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
    """A line a network and optimizer: its step, how many of Adam's it takes, and bytes of its state a weight.

    The peak is what the first step, which makes the state, adds to resident memory.
    """
    _use(command.threads)
    return pd.DataFrame([line for network in command.networks for line in _beside_adam(network, command)])


def _beside_adam(network: str, command: DropIn) -> Iterator[dict[str, Any]]:
    model = _network(network)
    weights = sum(p.numel() for p in model.parameters())
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = 0.01 * torch.randn(parameter.shape, generator=generator)
    optimizers: dict[str, torch.optim.Optimizer] = {"adam": torch.optim.Adam(model.parameters(), 0.0)}
    for name in command.optimizers:
        dtype = getattr(torch, command.state_dtype)
        optimizers[name] = LearnedOptimizer(model.parameters(), name, 0.0, state_dtype=dtype)
    peaks = {}
    for name, optimizer in optimizers.items():
        _forget_peak()
        before = _memory("VmRSS")
        optimizer.step()
        peaks[name] = _memory("VmHWM") - before
    clock = time.thread_time if command.threads == 1 else time.perf_counter
    times = _alternate({name: optimizer.step for name, optimizer in optimizers.items()}, command.rounds, clock)
    for name, optimizer in optimizers.items():
        state = [each for own in optimizer.state.values() for each in own.values() if each.dim()]
        yield {
            "network": network,
            "weights": weights,
            "optimizer": name,
            "ms/step": 1000 * min(times[name]),
            "times Adam": min(times[name]) / min(times["adam"]),
            "bytes/weight": sum(each.numel() * each.element_size() for each in state) / weights,
            "peak MiB": peaks[name],
        }


def _network(name: str) -> nn.Module:
    from fewshot.vision import models

    with torch.random.fork_rng(devices=[]):  # initial weights come from the global generator
        if name == "resnet18":
            return models.resnet18(weights=None)
        inputs, units = (64, 32) if name == "small" else (784, 256)
        return nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, 10))


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


def _alternate(
    actions: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each action in every round but a first one, in which all warm up."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for round_ in range(rounds + 1):
        for name, action in actions.items():
            started = clock()
            action()
            if round_:
                times[name].append(clock() - started)
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
