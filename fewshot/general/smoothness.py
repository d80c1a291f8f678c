"""How smooth a learned optimizer is where it is used: at states of real trajectories, not around zero alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fewshot.general.stepping import LearnedStepper
from fewshot.general.tasks import Problem
from fewshot.general.together import chunks, together
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.core import Step
from fewshot.regularizers.smoothness import Smoothness, SmoothOptions

POINTS = 10
"""Steps of a trajectory at which states are taken: the middles of so many equal parts."""
ROWS = 2000
"""Weights of a network that are looked at, always the same ones."""


class TrajectorySmoothness(NamedTuple):
    """Smoothness on the trajectory of each problem; the network is trained by the optimizer itself."""

    penalties: list[float]
    """R of Eq. 3 at a radius of 1, the mean over steps and weights."""
    slopes: list[float]
    """The mean over steps and weights of the l1 norm of ∂u/∂s: by how much an update changes for a unit of change in
    the l∞ norm of what smoothness perturbs."""
    lipschitz: list[float]
    """The largest of those slopes."""


def trajectory_smoothness(
    core: CoordinatewiseOptimizer, problems: Sequence[Problem], steps: int
) -> TrajectorySmoothness | None:
    """Train networks and measure on the way; None where a weight or a number found is not finite.

    Args:
        core: it stays as it is.
        problems: of one size.
        steps: of training, at least one.
    """
    parts = [_measured(core, some, steps) for some in chunks(problems)]
    penalties, slopes = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))  # [points, problems, rows]
    if not (penalties.isfinite().all() and slopes.isfinite().all()):
        return None
    penalty, slope = (each.double().mean(dim=(0, 2)).tolist() for each in (penalties, slopes))
    return TrajectorySmoothness(penalty, slope, slopes.double().amax(dim=(0, 2)).tolist())


@torch.no_grad()
def _measured(core: CoordinatewiseOptimizer, problems: Sequence[Problem], steps: int) -> tuple[Tensor, Tensor]:
    """Penalties and slopes, each [points, problems, rows]."""
    group = together(problems)
    weights = group.init()
    stepper = LearnedStepper(core, weights, problems[0].sizes())
    wanted = {int((i + 0.5) * steps / POINTS) for i in range(POINTS)}
    found: list[tuple[Tensor, Tensor]] = []
    for step in range(max(wanted) + 1):
        gradient = group.loss_and_gradient(weights, step)[1]
        if step in wanted:
            hidden = tuple(part.T for part in stepper.hidden)
            with core.unroll():
                state = core.observe(gradient, weights, stepper.memory, hidden)[0]
                found.append(_of_step(core, state, hidden))
        weights = stepper.step(weights, gradient)
    penalties, slopes = zip(*found, strict=True)
    return torch.stack(penalties), torch.stack(slopes)


def _of_step(core: CoordinatewiseOptimizer, state: Tensor, hidden: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Penalties and slopes of some weights of each network, [networks, rows] each; the state is [networks, P, F]."""
    networks, size = state.shape[:2]
    some = torch.randperm(size, generator=torch.Generator("cpu").manual_seed(0))[:ROWS].sort().values
    rows = (torch.arange(networks)[:, None] * size + some).flatten().to(state.device)
    columns = core.column_slice(core.smooth_columns)
    maximum = "endpoints" if columns.stop - columns.start == 1 else "auto"
    smoothness, flat = Smoothness(SmoothOptions(maximum=maximum)), state.flatten(0, 1)
    if core.independent_rows:
        step = core.step(flat[rows], tuple(part[rows] for part in hidden))
        rows = slice(None)
    else:
        step = core.step(flat, hidden)
    penalty = smoothness.per_row(core, step)[rows]
    slope = _slopes(core, step, columns)[rows]
    return penalty.view(networks, -1), slope.view(networks, -1)


def _slopes(core: CoordinatewiseOptimizer, step: Step, columns: slice) -> Tensor:
    """The l1 norm of ∂u/∂s of every row, [rows]."""
    update, pull = core.response(step, columns).vjp(step.state[:, columns])
    return pull(torch.ones_like(update)).abs().sum(dim=1)
