"""Persistent evolution strategies against finite differences of whole unrolls, where backpropagation is biased."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fewshot.engine.pes import PersistentUnroll
from fewshot.engine.unroll import Unroll
from fewshot.engine.unroll_options import UnrollOptions
from fewshot.errors import InputError
from fewshot.general.tasks import Problem, Quadratic
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.optimizers.simple import SimpleOptions
from fewshot.regularizers import Smoothness, SmoothOptions

TASK = Quadratic(size=3, rows=6, dtype=torch.float64)
SIGMA = 1e-3


def make() -> CoordinatewiseOptimizer:
    core = LEARNED["simple"](torch.Generator().manual_seed(3), SimpleOptions(hidden_size=2)).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(2)
    return core


def smooth(weight: float = 0.0) -> Smoothness:
    return Smoothness(SmoothOptions(weight=weight, maximum="endpoints"))


def problems(count: int = 1) -> list[Problem]:
    return [TASK.problem("train", 5, 8) for _ in range(count)]


def objective(parameters: Tensor, truncations: int, length: int, weight: float) -> Tensor:
    """Σ over a whole unroll of its truncations' Σ (ℓ_t + λ R_t), for one optimizer φ."""
    core = make().requires_grad_(False)
    torch.nn.utils.vector_to_parameters(parameters, core.parameters())
    unroll = Unroll(core, smooth(weight), problems(), 0)
    return torch.stack([unroll.truncation([1.0] * length).objective for _ in range(truncations)]).sum()


def by_differences(truncations: int, length: int, weight: float = 0.0) -> Tensor:
    center, step = torch.nn.utils.parameters_to_vector(make().parameters()).detach(), 1e-5
    moves = step * torch.eye(len(center), dtype=center.dtype)
    ends = [[objective(center + sign * move, truncations, length, weight) for sign in (1, -1)] for move in moves]
    return torch.stack([(plus - minus) / (2 * step) for plus, minus in ends])


def flat(core: CoordinatewiseOptimizer, surrogate: Tensor) -> Tensor:
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(surrogate, list(core.parameters()))])


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_the_mean_estimate_is_the_gradient_of_the_whole_unroll(weight: float) -> None:
    truncations, length = 3, 2
    exact, core = by_differences(truncations, length, weight), make()
    pairs = PersistentUnroll(core, smooth(weight), problems(600), 1, perturbation=SIGMA)
    estimate = sum(flat(core, pairs.truncation([1.0] * length).surrogate) for _ in range(truncations))
    biased = Unroll(core, smooth(weight), problems(), 0)
    truncated = sum(flat(core, biased.truncation([1.0] * length).surrogate) for _ in range(truncations))
    assert (estimate - exact).norm() < 0.2 * exact.norm()
    assert (truncated - exact).norm() > 0.4 * exact.norm()


def test_one_pair_by_hand() -> None:
    """ξ (L⁺ - L⁻) / (2 σ²), with ξ the sum of both truncations' perturbations in the second."""
    core, center = make(), torch.nn.utils.parameters_to_vector(make().parameters()).detach()
    pes = PersistentUnroll(core, smooth(), problems(), 7, perturbation=SIGMA)
    first = flat(core, pes.truncation([1.0, 2.0]).surrogate)
    noise = pes.pairs[0].met
    sides = []
    for sign in (1, -1):
        own = make().requires_grad_(False)
        torch.nn.utils.vector_to_parameters(center + sign * noise, own.parameters())
        sides.append(Unroll(own, smooth(), problems(), 0))
    plus, minus = (side.truncation([1.0, 2.0]).objective for side in sides)
    torch.testing.assert_close(first, noise * (plus - minus) / (2 * SIGMA**2))

    second = flat(core, pes.truncation([1.0, 2.0]).surrogate)
    fresh = pes.pairs[0].met - noise
    assert not torch.equal(fresh, noise)
    for side, sign in zip(sides, (1, -1), strict=True):
        torch.nn.utils.vector_to_parameters(center + sign * fresh, side.core.parameters())
    plus, minus = (side.truncation([1.0, 2.0]).objective for side in sides)
    torch.testing.assert_close(second, (noise + fresh) * (plus - minus) / (2 * SIGMA**2))


def test_a_pair_with_a_lost_network_starts_afresh_without_what_it_met() -> None:
    core = make()
    output = core.get_parameter("output")
    with torch.no_grad():
        output.mul_(1e3)
    pes = PersistentUnroll(core, smooth(), problems(), 7, loss_cap=1.5, perturbation=SIGMA)
    part = pes.truncation([1.0] * 3)
    assert pes.lost >= 1
    assert not pes.pairs[0].met.any()
    assert part.objective.isfinite()
    with torch.no_grad():
        output.mul_(1e-6)
    assert float(pes.truncation([1.0]).loss[0]) == pytest.approx(float(pes.pairs[0].plus._cap) / 1.5, rel=1e-2)


def test_the_same_seed_gives_the_same_estimates_and_the_global_generator_stands_still() -> None:
    before = torch.get_rng_state()
    found = []
    for seed in (1, 1, 2):
        core = make()
        found.append(flat(core, PersistentUnroll(core, smooth(), problems(2), seed).truncation([1.0]).surrogate))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("value", [{"estimator": "es"}, {"perturbation": 0.0}, {"estimator": "pes", "recompute": True}])
def test_refusals(value: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(UnrollOptions(), **value)
