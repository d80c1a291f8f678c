"""Imitation of a hand-designed optimizer against a plain loop; how often it happens, and that it works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from unroll_watchers import Killed, KilledAt, Quiet

from fewshot.engine.general import UnrollOptions, UnrollTrainer
from fewshot.engine.imitation import Imitation, ImitationOptions
from fewshot.errors import InputError
from fewshot.general.hand_designed import hand_designed
from fewshot.general.tasks import Problem, Quadratic
from fewshot.general.variation import VariationOptions
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.regularizers import REGULARIZERS, NoOptions, Regularizer, Smoothness, SmoothOptions
from fewshot.seeding import derive

TASK = Quadratic(size=4, rows=12, dtype=torch.float64)
OPTIONS = UnrollOptions(
    unrolls=12,
    horizon=8,
    truncation=4,
    batch_size=16,
    meta_rate=1e-2,
    validate_every=3,
    imitation=ImitationOptions(0.5, rate=0.1),
)


def make(name: str = "simple") -> CoordinatewiseOptimizer:
    core = LEARNED[name](torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(2)
    return core


def trainer(options: UnrollOptions = OPTIONS, checkpoint: Path | None = None) -> UnrollTrainer:
    task = Quadratic()
    return UnrollTrainer(
        LEARNED["simple"](torch.Generator().manual_seed(0)),
        Regularizer(),
        options,
        7,
        lambda seed: task.problem("train", seed, options.batch_size),
        [task.problem("val", seed, options.batch_size) for seed in range(2)],
        {"configuration": "a"},
        checkpoint,
        0.0,
    )


def by_loop(core: CoordinatewiseOptimizer, seed: int, regularizer: Regularizer, cuts: list[int]) -> list[Tensor]:
    """Adam written out beside the core: the objective of every truncation."""
    problem: Problem = TASK.problem("train", seed, 8)
    theta, memory = problem.init(), core.features.init(problem.init()[None])
    hidden, m, v, t = core.init_hidden(len(theta)), torch.zeros(4).double(), torch.zeros(4).double(), 0
    objectives = []
    for length in cuts:
        total, hidden = theta.new_zeros(()), tuple(h.detach() for h in hidden)
        for _ in range(length):
            leaf = theta.clone().requires_grad_()
            (g,) = torch.autograd.grad(problem.loss(leaf, problem.batch(t)), leaf)
            t += 1
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            delta = -0.05 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
            state, memory = core.features(g[None], theta[None], memory)
            update, after = core(state[0], hidden)
            total = total + ((delta - update[:, 0]) ** 2).sum() / (2 * 4)
            if isinstance(regularizer, Smoothness):
                ends = [(core(state[0] + end, hidden)[0] - update).square().sum(dim=1) for end in (-1, 1)]
                total = total + regularizer.options.weight * torch.maximum(*ends).mean()
            theta, hidden = theta + delta, after
        objectives.append(total)
    return objectives


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", ["simple", "dm", "rnnprop"])
def test_meta_gradient_is_that_of_a_plain_loop(name: str, recompute: bool) -> None:
    core = make(name)
    regularizer: Regularizer = Regularizer()
    if core.state_size == 1:
        regularizer = Smoothness(SmoothOptions(weight=3.0, radius=1.0, maximum="endpoints"))
    problems = [TASK.problem("train", seed, 8) for seed in (1, 2)]
    teacher = hand_designed("adam", 0.05, 20)
    ours = Imitation(core, regularizer, problems, 0, recompute=recompute, teacher=teacher)
    loops = [by_loop(core, seed, regularizer, [3, 4]) for seed in (1, 2)]
    for length, parts in zip([3, 4], zip(*loops, strict=True), strict=True):
        found = ours.truncation([9.0] * length)
        expected = sum(parts) / 2
        assert isinstance(expected, Tensor)
        torch.testing.assert_close(found.loss.sum() + found.penalty.sum(), expected.detach())
        parameters = list(core.parameters())
        gradients = torch.autograd.grad(found.surrogate, parameters), torch.autograd.grad(expected, parameters)
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)
        assert max(float(g.abs().max()) for g in gradients[1]) > 1e-4


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_every_regularizer_has_its_part(regularizer: str) -> None:
    kind = REGULARIZERS[regularizer]
    chosen = kind(kind.Options(**({} if kind.Options is NoOptions else {"weight": 2.0})))
    core: Any = chosen.attach(make())
    problems = [TASK.problem("train", 1, 8)]
    found = Imitation(core, chosen, problems, 0, teacher=hand_designed("adam", 0.05, 20)).truncation([1.0] * 3)
    torch.testing.assert_close(found.surrogate.detach(), found.loss.sum() + found.penalty.sum())
    assert (found.penalty.sum() > 0) == (regularizer not in ("none", "spectral"))


def test_it_happens_with_its_probability_and_by_the_seed_alone() -> None:
    options = ImitationOptions(0.3)
    decided = [options.decide(derive(1, "imitation", i)) for i in range(4000)]
    assert sum(decided) / 4000 == pytest.approx(0.3, abs=0.03)
    assert not any(ImitationOptions(0.0).decide(seed) for seed in (0, 1, 2**63 - 1))
    assert all(ImitationOptions(1.0).decide(seed) for seed in (0, 1, 2**63 - 1))


def test_record_keeps_imitation_apart() -> None:
    progress = trainer().run(Quiet())
    decided = [OPTIONS.imitation.decide(derive(7, "imitation", i)) for i in range(12)]
    assert [p["unroll"] for p in progress.imitation] == [i + 1 for i in range(12) if decided[i]]
    assert [p["unroll"] for p in progress.curve] == [i + 1 for i in range(12) if not decided[i]]
    assert set(progress.imitation[0]) == {"unroll", "distance", "penalty"}
    assert progress.curve
    assert progress.imitation


def test_a_probability_of_zero_changes_nothing() -> None:
    never = replace(OPTIONS, imitation=ImitationOptions(0.0, teacher="sgd", rate=9.0))
    plain, other = trainer(replace(OPTIONS, imitation=ImitationOptions())), trainer(never)
    assert plain.run(Quiet()).curve == other.run(Quiet()).curve
    assert all(torch.equal(p, q) for p, q in zip(plain.core.parameters(), other.core.parameters(), strict=True))


def test_the_optimizer_comes_to_take_its_teachers_steps() -> None:
    options = replace(OPTIONS, unrolls=120, validate_every=120, imitation=ImitationOptions(1.0, rate=0.1))
    distances = [p["distance"] for p in trainer(options).run(Quiet()).imitation]
    assert sum(distances[-10:]) < 0.4 * sum(distances[:10])


@pytest.mark.parametrize("killed_at", [4, 9])
def test_killed_and_continued_is_not_killed(tmp_path: Path, killed_at: int) -> None:
    """With all options of training beyond the paper's at once."""
    options = replace(OPTIONS, curriculum=(4,), variation=VariationOptions(3.0, 5, 1.0))
    whole = trainer(options)
    whole.run(Quiet())
    with pytest.raises(Killed):
        trainer(options, tmp_path / "c.pt").run(KilledAt(killed_at))
    continued = trainer(options, tmp_path / "c.pt")
    continued.run(Quiet())
    assert whole.progress.imitation == continued.progress.imitation
    assert whole.progress.curve == continued.progress.curve
    assert whole.progress.stages == continued.progress.stages
    for name, weights in whole.core.state_dict().items():
        assert torch.equal(weights, continued.core.state_dict()[name]), name


def test_a_teacher_that_diverges_is_given_up() -> None:
    options = replace(OPTIONS, imitation=ImitationOptions(0.5, teacher="sgd", rate=1e30))
    running = trainer(options)
    progress = running.run(Quiet())
    assert progress.skipped > 0
    assert not progress.imitation
    assert progress.skipped + len(progress.curve) == 12
    assert all(p.isfinite().all() for p in running.core.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 1.5}, r"imitation\.probability is 1\.5"),
        ({"probability": float("nan")}, r"imitation\.probability"),
        ({"teacher": "simple"}, r"unknown training\.imitation\.teacher 'simple'; choose one of: sgd"),
        ({"rate": 0.0}, r"imitation\.rate is 0"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImitationOptions(**options)
