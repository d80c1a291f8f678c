"""Smoothness on trajectories against a loop over steps, networks and weights, and differences of updates."""

import pytest
import torch

from fewshot.general import smoothness
from fewshot.general.smoothness import trajectory_smoothness
from fewshot.general.stepping import loss_and_gradient
from fewshot.general.tasks import Quadratic
from fewshot.optimizers import LEARNED, create

PROBLEMS = [Quadratic(size=4, rows=12, dtype=torch.float64).problem("test", seed, 8) for seed in range(2)]
TRICKS = {"": {}, ", rms": {"update_rms": 0.05}, ", nominal": {"nominal_rate": 0.02}}


def make(name="simple", **options):
    kind = LEARNED[name]
    return create(kind, torch.Generator().manual_seed(1), kind.Options(**options)).double()


@pytest.mark.parametrize("tricks", TRICKS)
def test_penalties_and_slopes_are_those_of_a_loop(tricks, monkeypatch):
    core = make(**TRICKS[tricks])
    monkeypatch.setattr(smoothness, "POINTS", 3)  # of 6 steps: 1, 3, 5
    found = trajectory_smoothness(core, PROBLEMS, 6)
    inner = getattr(core, "core", core)
    for number, problem in enumerate(PROBLEMS):
        weights, penalties, slopes = problem.init(), [], []
        memory, hidden = core.features.init(weights), core.init_hidden(4)
        for step in range(6):
            gradient = loss_and_gradient(problem, weights, problem.batch(step))[1]
            state, memory = core.observe(gradient, weights, memory, hidden)
            with torch.no_grad():
                outputs = {d: inner(state[:, :1] + d, hidden[:1])[0] for d in (0.0, -1.0, 1.0, -1e-6, 1e-6)}
                scale = 0.05 / outputs[0.0].square().mean().sqrt() if tricks == ", rms" else 1.0
                if step in (1, 3, 5):
                    gaps = [(scale * (outputs[d] - outputs[0.0])).square() for d in (-1.0, 1.0)]
                    penalties.append(torch.maximum(*gaps))
                    slopes.append((scale * (outputs[1e-6] - outputs[-1e-6]) / 2e-6).abs())
                update, hidden = core(state, hidden)
            weights = weights + update[:, 0]
        assert found.penalties[number] == pytest.approx(torch.stack(penalties).mean().item(), rel=1e-9)
        assert found.slopes[number] == pytest.approx(torch.stack(slopes).mean().item(), rel=1e-6)
        assert found.lipschitz[number] == pytest.approx(torch.stack(slopes).max().item(), rel=1e-6)


@pytest.mark.parametrize("name", [name + tricks for name in LEARNED for tricks in TRICKS])
def test_every_core_is_measured_and_stays_as_it_is(name, monkeypatch):
    monkeypatch.setattr(smoothness, "ROWS", 3)  # of 4
    name, _, tricks = name.partition(", ")
    core = make(name, **TRICKS[f", {tricks}" if tricks else ""])
    before = {key: value.clone() for key, value in core.state_dict().items()}
    state = torch.random.get_rng_state()
    found = trajectory_smoothness(core, PROBLEMS, 4)
    assert all(number > 0 for part in found for number in part)
    assert [len(part) for part in found] == [2, 2, 2]
    assert all(top >= mean for top, mean in zip(found.lipschitz, found.slopes, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(core.state_dict()[key], value) for key, value in before.items())
    assert all(p.grad is None for p in core.parameters())


def test_larger_outputs_are_steeper():
    """At the first step, where the states are the same: times 10, and times 100."""
    core, steeper = make(), make()
    with torch.no_grad():
        steeper.output.mul_(10)
    found, other = (trajectory_smoothness(each, PROBLEMS, 1) for each in (core, steeper))
    torch.testing.assert_close(torch.tensor(other.penalties), 100 * torch.tensor(found.penalties))
    torch.testing.assert_close(torch.tensor(other.lipschitz), 10 * torch.tensor(found.lipschitz))


def test_what_runs_away_has_no_number():
    core = make()
    with torch.no_grad():
        core.output.mul_(1e200)
    assert trajectory_smoothness(core, PROBLEMS, 20) is None
