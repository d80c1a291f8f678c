"""Meta-training of optimizers of network weights: it learns, stops and continues exactly, and survives NaN."""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from unroll_watchers import Killed, KilledAt, Quiet

from fewshot.engine.few_shot import MetaTrainingFailed
from fewshot.engine.general import UnrollOptions, UnrollTrainer
from fewshot.engine.imitation import ImitationOptions
from fewshot.engine.loop import FAILURES_IN_A_ROW
from fewshot.engine.unroll import Truncation
from fewshot.errors import InputError
from fewshot.general.evaluate import final_losses
from fewshot.general.stepping import LearnedStepper
from fewshot.general.tasks import Problem, Quadratic
from fewshot.optimizers import LEARNED
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions

TASK = Quadratic()
OPTIONS = UnrollOptions(
    unrolls=6, horizon=20, truncation=10, batch_size=16, meta_rate=1e-2, meta_batch=2, validate_every=2
)


def problem(seed: int) -> Problem:
    return TASK.problem("train", seed, OPTIONS.batch_size)


def trainer(
    options: UnrollOptions = OPTIONS,
    checkpoint: Path | None = None,
    name: str = "simple",
    make: Callable[[int], Problem] = problem,
    identity: str = "a",
    regularizer: Regularizer | None = None,
) -> UnrollTrainer:
    core = LEARNED[name](torch.Generator().manual_seed(0))
    regularizer = regularizer or Smoothness(SmoothOptions(maximum="pgd"))  # draws noise: resuming must repeat it
    validation = [TASK.problem("val", seed, options.batch_size) for seed in range(3)]
    return UnrollTrainer(core, regularizer, options, 7, make, validation, {"configuration": identity}, checkpoint, 0.0)


@pytest.mark.parametrize(
    ("killed_at", "how"), [(1, {}), (4, {}), (4, {"estimator": "pes"}), (4, {"second_order": True})]
)
def test_killed_and_continued_is_not_killed(tmp_path: Path, killed_at: int, how: dict[str, Any]) -> None:
    options = replace(OPTIONS, meta_decay="cosine", **how)
    whole = trainer(options)
    whole.run(Quiet())
    with pytest.raises(Killed):
        trainer(options, checkpoint=tmp_path / "c.pt").run(KilledAt(killed_at))
    continued = trainer(options, checkpoint=tmp_path / "c.pt")
    assert continued.progress.unroll == killed_at - 1
    continued.run(Quiet())
    for name, weights in whole.core.state_dict().items():
        assert torch.equal(weights, continued.core.state_dict()[name]), name
        assert torch.equal(whole.best[name], continued.best[name]), name
    assert whole.progress.curve == continued.progress.curve
    assert whole.progress.validation == continued.progress.validation
    assert len(whole.progress.curve) == 6
    assert len(whole.progress.validation) == 3


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    trainer(checkpoint=tmp_path / "c.pt").run(Quiet())
    with pytest.raises(InputError, match=r"another configuration.*--fresh"):
        trainer(checkpoint=tmp_path / "c.pt", identity="b")


class Broken(Problem):
    """A quadratic whose loss is NaN from some step on."""

    def __init__(self, seed: int) -> None:
        self.whole = problem(seed)
        self.init, self.batch = self.whole.init, lambda step: (step, self.whole.batch(step))

    def loss(self, weights: torch.Tensor, batch: tuple[int, torch.Tensor]) -> torch.Tensor:
        return self.whole.loss(weights, batch[1]) * (float("nan") if batch[0] >= 12 else 1.0)


def test_unrolls_that_are_not_finite_are_given_up_and_counted() -> None:
    calls: list[int] = []

    def second_is_broken(seed: int) -> Problem:
        calls.append(seed)
        return Broken(seed) if len(calls) == 3 else problem(seed)

    running = trainer(make=second_is_broken)
    progress = running.run(Quiet())
    assert progress.skipped == 1
    assert [point["unroll"] for point in progress.curve] == [1, 3, 4, 5, 6]
    assert progress.skipped_in_a_row == 0
    assert all(p.isfinite().all() for p in running.core.parameters())


def test_twenty_failures_in_a_row_end_the_run() -> None:
    running = trainer(replace(OPTIONS, unrolls=100), make=Broken)
    with pytest.raises(MetaTrainingFailed, match=f"{FAILURES_IN_A_ROW} unrolls in a row"):
        running.run(Quiet())
    assert running.progress.skipped == FAILURES_IN_A_ROW


def test_the_optimizer_with_the_least_validation_loss_is_kept() -> None:
    running = trainer(replace(OPTIONS, unrolls=12, meta_rate=0.05))
    progress = running.run(Quiet())
    losses = [point["loss"] for point in progress.validation]
    assert progress.best_loss == min(x for x in losses if x is not None)
    running.core.load_state_dict(running.best)
    again = final_losses(running.validation, lambda w: LearnedStepper(running.core, w), OPTIONS.horizon)
    assert sum(again) / 3 == pytest.approx(progress.best_loss)


def test_meta_gradients_are_clamped_element_by_element(monkeypatch: pytest.MonkeyPatch) -> None:
    running = trainer(replace(OPTIONS, unrolls=1, clamp=1e-3))
    seen: list[float] = []
    step = running.optimizer.step
    monkeypatch.setattr(
        running.optimizer,
        "step",
        lambda: (
            seen.append(max(float(p.grad.abs().max()) for p in running.core.parameters() if p.grad is not None)),
            step(),
        ),
    )
    running.run(Quiet())
    assert len(seen) == 2
    assert seen == pytest.approx([1e-3, 1e-3])


def test_the_meta_rate_falls_along_half_a_cosine() -> None:
    options = replace(OPTIONS, meta_decay="cosine", unrolls=4, validate_every=4)
    running = trainer(options)
    seen: list[float] = []
    running.optimizer.register_step_pre_hook(lambda adam, *_: seen.append(adam.param_groups[0]["lr"]))
    running.run(Quiet())
    half = 0.5**0.5
    expected = [1, (1 + half) / 2, 0.5, (1 - half) / 2]
    assert seen[::2] == seen[1::2]  # two truncations an unroll
    assert seen[::2] == pytest.approx([share * options.meta_rate for share in expected])
    assert [OPTIONS.meta_rate_at(i) for i in range(4)] == [OPTIONS.meta_rate] * 4


@pytest.mark.parametrize("imitation", [0.0, 1.0])
@pytest.mark.parametrize("recompute", [False, True])
def test_memory_does_not_grow_along_the_horizon(
    monkeypatch: pytest.MonkeyPatch, recompute: bool, imitation: float
) -> None:
    """Of all truncations, only the present one's graph is alive."""
    options = replace(OPTIONS, unrolls=1, horizon=80, recompute=recompute, imitation=ImitationOptions(imitation))
    running = trainer(options)
    graphs: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    step = running._meta_step

    def watched(part: Truncation) -> bool:
        graphs.append(weakref.ref(part.surrogate))
        done = step(part)
        alive.append(sum(graph() is not None for graph in graphs))
        return done

    monkeypatch.setattr(running, "_meta_step", watched)
    running.run(Quiet())
    assert alive == [1] * 8


@pytest.mark.parametrize("name", LEARNED)
def test_every_learned_optimizer_learns_the_quadratic(name: str) -> None:
    options = replace(OPTIONS, unrolls=15, horizon=20, judged_on="next", validate_every=5, meta_rate=1e-2)
    running = trainer(options, name=name, regularizer=Regularizer())
    before = [float(p.held_out_score(p.init()).loss) for p in running.validation]
    running.run(Quiet())
    running.core.load_state_dict(running.best)
    after = final_losses(running.validation, lambda w: LearnedStepper(running.core, w), options.horizon)
    assert sum(after) < 0.5 * sum(before), (after, before)


def adam_rates(options: UnrollOptions) -> list[float]:
    running = trainer(options)
    seen: list[float] = []
    running.optimizer.register_step_pre_hook(lambda adam, *_: seen.append(adam.param_groups[0]["lr"]))
    running.run(Quiet())
    return seen[::2]


def test_the_meta_rate_rises_linearly_before_it_falls() -> None:
    options = replace(OPTIONS, unrolls=8, validate_every=8, meta_rate=0.4)
    rates = [0.1, 0.2, 0.3, 0.4]
    assert adam_rates(replace(options, meta_warmup=4)) == pytest.approx(rates + [0.4] * 4)
    falling = [0.4 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert adam_rates(replace(options, meta_warmup=4, meta_decay="cosine")) == pytest.approx(rates + falling)


@pytest.mark.parametrize(("clip", "clamp"), [("value", 1e-3), ("norm", 1e-3), ("norm", 1e9)])
def test_meta_gradients_are_clipped_by_value_or_norm(clip: Any, clamp: float) -> None:
    """The first step's, against the one that is not clipped."""

    def first(options: UnrollOptions) -> torch.Tensor:
        running, seen = trainer(options), []
        parameters = list(running.core.parameters())
        running.optimizer.register_step_pre_hook(
            lambda *_: seen.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
        )
        running.run(Quiet())
        return seen[0]

    options = replace(OPTIONS, unrolls=1)
    free, found = first(replace(options, clamp=1e30)), first(replace(options, clip=clip, clamp=clamp))
    assert free.norm() > 1e-2
    expected = free.clamp(-clamp, clamp) if clip == "value" else free * min(1.0, clamp / float(free.norm()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_drawn_horizons_are_log_uniform_and_of_seed_and_unroll_alone() -> None:
    options = replace(OPTIONS, horizon=70, truncation=10, shortest_horizon=20)
    drawn = [options.horizon_at(i * 2**63 // 5000, 70) for i in range(5000)]
    for k in range(2, 8):  # P(k) = ln((k + 1) / k) / ln(8 / 2)
        assert drawn.count(10 * k) / 5000 == pytest.approx(math.log((k + 1) / k) / math.log(4), abs=1e-3)
    assert set(drawn) == {20, 30, 40, 50, 60, 70}
    assert options.horizon_at(2**63 - 1, 70) == 70
    assert options.horizon_at(2**63 - 1, 20) == options.horizon_at(0, 70) == 20
    assert {OPTIONS.horizon_at(seed, 20) for seed in (0, 2**62, 2**63 - 1)} == {20}


def test_unrolls_are_as_long_as_drawn(tmp_path: Path) -> None:
    """And a run that is continued draws what it would have drawn."""
    options = replace(OPTIONS, unrolls=8, horizon=40, shortest_horizon=10)

    def lengths(running: UnrollTrainer, observer: Any) -> list[int]:
        steps: list[int] = []
        running.optimizer.register_step_pre_hook(lambda *_: steps.append(running.progress.done))
        with contextlib.suppress(Killed):
            running.run(observer)
        return [steps.count(i) for i in range(8)]

    whole = lengths(trainer(options), Quiet())
    assert len(set(whole)) > 1
    assert set(whole) <= {1, 2, 3, 4}
    lengths(trainer(options, checkpoint=tmp_path / "c.pt"), KilledAt(4))
    rest = lengths(trainer(options, checkpoint=tmp_path / "c.pt"), Quiet())
    assert rest == [0] * 3 + whole[3:]


def test_the_curve_says_how_many_networks_were_lost() -> None:
    assert all("lost" not in point for point in trainer().run(Quiet()).curve)
    running = trainer(replace(OPTIONS, loss_cap=1e3), make=Broken)
    curve = running.run(Quiet()).curve
    assert [point["lost"] for point in curve] == [2.0] * 6  # both, in the second truncation
    assert running.progress.skipped == 0
    assert running.progress.exploded(math.inf) == 1.0, "though none ends high"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 30, "truncation": 20}, "multiple"),
        ({"meta_rate": 0}, "meta_rate"),
        ({"unrolls": 0}, "unrolls"),
        ({"clip": "l2"}, "unknown training.clip 'l2'; choose one of: value, norm"),
        ({"objective": "ln"}, "unknown training.objective 'ln'"),
        ({"loss_cap": 1.0}, "training.loss_cap is 1.0; it must be above 1"),
        ({"loss_cap": float("nan")}, "training.loss_cap is nan"),
        ({"meta_warmup": 2000}, "training.meta_warmup is 2000; .* below training.unrolls 2000"),
        ({"meta_warmup": -1}, "training.meta_warmup is -1"),
        ({"shortest_horizon": 30}, "training.shortest_horizon is 30; .* multiple of training.truncation 20 up to 200"),
        ({"shortest_horizon": 220}, "training.shortest_horizon is 220"),
        ({"shortest_horizon": 60, "curriculum": (40,)}, "up to 40, the least horizon"),
        ({"shortest_horizon": -20}, "training.shortest_horizon is -20"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        UnrollOptions(**options)
