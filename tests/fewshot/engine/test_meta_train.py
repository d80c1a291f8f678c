"""Meta-training of optimizers of network weights: it learns, stops and continues exactly, and survives NaN."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

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


@pytest.mark.parametrize("killed_at", [1, 4])
def test_killed_and_continued_is_not_killed(tmp_path: Path, killed_at: int) -> None:
    options = replace(OPTIONS, meta_decay="cosine")
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


@pytest.mark.parametrize(
    ("options", "message"),
    [({"horizon": 30, "truncation": 20}, "multiple"), ({"meta_rate": 0}, "meta_rate"), ({"unrolls": 0}, "unrolls")],
)
def test_options_are_checked(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        UnrollOptions(**options)  # pyright: ignore[reportArgumentType]
