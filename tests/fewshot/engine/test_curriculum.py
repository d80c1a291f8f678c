"""Stages of growing horizons: when they end, what they hand on, and that a killed run continues within them exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from unroll_watchers import Killed, KilledAt, Quiet

from fewshot.engine.checkpoint import snapshot
from fewshot.engine.curriculum import Curriculum
from fewshot.engine.general import UnrollOptions, UnrollTrainer
from fewshot.engine.loop import Outcome
from fewshot.errors import InputError
from fewshot.general.evaluate import final_losses
from fewshot.general.stepping import LearnedStepper
from fewshot.general.tasks import Problem, Quadratic, Score
from fewshot.optimizers import LEARNED
from fewshot.regularizers import Smoothness, SmoothOptions

TASK = Quadratic()
OPTIONS = UnrollOptions(
    unrolls=15, curriculum=(4, 8), horizon=16, truncation=4, batch_size=16, meta_rate=0.1, validate_every=1
)


class Diverging(Problem):
    """A quadratic that is never held out well."""

    def __init__(self, seed: int) -> None:
        whole = TASK.problem("val", seed, 16)
        self.init, self.batch, self.loss, self.training_score = (
            whole.init,
            whole.batch,
            whole.loss,
            whole.training_score,
        )

    def held_out_score(self, weights: torch.Tensor) -> Score:
        return Score(weights.new_tensor(float("nan")), None)


def trainer(
    options: UnrollOptions = OPTIONS, checkpoint: Path | None = None, validation: list[Problem] | None = None
) -> UnrollTrainer:
    core = LEARNED["simple"](torch.Generator().manual_seed(0))
    return UnrollTrainer(
        core,
        Smoothness(SmoothOptions(maximum="pgd", pgd_steps=2)),  # draws noise: resuming must repeat it
        options,
        7,
        lambda seed: TASK.problem("train", seed, options.batch_size),
        validation or [TASK.problem("val", seed, options.batch_size) for seed in range(3)],
        {"configuration": "a"},
        checkpoint,
        0.0,
    )


@pytest.mark.parametrize(
    ("stage", "unroll", "losses", "improved", "over"),
    [
        (0, 5, [3.0, 2.0], False, False),  # too few validations
        (0, 6, [3.0, 2.0, 2.5], False, True),
        (0, 6, [3.0, 2.0, 1.5], True, False),
        (0, 6, [None, None, None], False, False),  # there is no best to hand on
        (0, 9, [None, None, None, 2.0], True, False),
        (0, 10, [1.0], True, True),  # its share is used up
        (1, 12, [3.0, 2.0, 2.5], False, True),
        (1, 10, [3.0, 2.0], False, False),
        (2, 30, [3.0, 2.0, 2.5, 2.6], False, False),  # the last one takes what is left
    ],
)
def test_end_of_a_stage(stage: int, unroll: int, losses: list[float | None], improved: bool, over: bool) -> None:
    assert Curriculum((10, 20, 40), 30).is_over(stage, unroll, losses, improved) == over


def test_horizons_of_training_and_validation() -> None:
    curriculum = Curriculum((10, 20, 40), 31)
    assert [curriculum.validated_at(stage) for stage in range(3)] == [20, 40, 40]
    assert [curriculum.deadline(stage) for stage in range(3)] == [10, 20, 31]


def test_a_stage_begins_with_the_best_optimizer_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    running = trainer()
    starts, steps, unroll, step = [], [], running._step, running._meta_step

    def watched(index: int) -> Outcome:
        if index == running.progress.stages[-1]["unroll"]:
            starts.append((snapshot(running.core), running.best, len(running.optimizer.state)))
        steps.append(0)
        return unroll(index)

    def counted(part) -> bool:
        steps[-1] += len(part.loss)
        return step(part)

    monkeypatch.setattr(running, "_step", watched)
    monkeypatch.setattr(running, "_meta_step", counted)
    progress = running.run(Quiet())
    begun = [stage["unroll"] for stage in progress.stages]
    assert [stage["horizon"] for stage in progress.stages] == [4, 8, 16]
    assert begun[0] == 0
    assert begun[1] < 5, "the first stage ended by itself, not by its share"
    bounds = [*begun[1:], 15]
    assert steps == [h for h, a, b in zip((4, 8, 16), begun, bounds, strict=True) for _ in range(a, b)]
    for number, (start, best, moments) in enumerate(starts):
        assert moments == 0
        assert all(torch.equal(start[name], best[name]) for name in start), number
        if number:
            inside = [p for p in progress.validation if begun[number - 1] < (p["unroll"] or 0) <= begun[number]]
            assert {p["horizon"] for p in inside} == {(8, 16)[number - 1]}
            running.core.load_state_dict(start)
            again = final_losses(running.validation, lambda w: LearnedStepper(running.core, w), (8, 16)[number - 1])
            assert sum(again) / 3 == pytest.approx(min(p["loss"] or 9e9 for p in inside))


def test_selection_is_among_validations_at_the_full_horizon() -> None:
    progress = trainer().run(Quiet())
    full = {p["unroll"]: p["loss"] for p in progress.validation if p["horizon"] == 16}
    assert progress.best_loss == min(full.values(), key=lambda loss: loss or 9e9)
    assert full[progress.best_unroll] == progress.best_loss


@pytest.mark.parametrize("killed_at", [2, 4, 9])
def test_killed_and_continued_is_not_killed(tmp_path: Path, killed_at: int) -> None:
    whole = trainer()
    whole.run(Quiet())
    with pytest.raises(Killed):
        trainer(checkpoint=tmp_path / "c.pt").run(KilledAt(killed_at))
    continued = trainer(checkpoint=tmp_path / "c.pt")
    continued.run(Quiet())
    for name, weights in whole.core.state_dict().items():
        assert torch.equal(weights, continued.core.state_dict()[name]), name
        assert torch.equal(whole.best[name], continued.best[name]), name
    for name in ("curve", "validation", "stages", "best_loss", "best_unroll"):
        assert getattr(whole.progress, name) == getattr(continued.progress, name), name


def test_stages_without_a_finite_validation_end_when_their_share_is_used_up() -> None:
    running = trainer(replace(OPTIONS, validate_every=4), validation=[Diverging(0)])
    progress = running.run(Quiet())
    assert [stage["unroll"] for stage in progress.stages] == [0, 5, 10]
    assert [p["unroll"] for p in progress.validation] == [4, 5, 8, 10, 12, 15]
    assert progress.best_loss is None
    assert len(progress.curve) == 15


def test_no_curriculum_is_one_stage() -> None:
    progress = trainer(replace(OPTIONS, curriculum=())).run(Quiet())
    assert progress.stages == [{"horizon": 16, "unroll": 0}]
    assert {p["horizon"] for p in progress.validation} == {16}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curriculum": (8, 4)}, "is 8 4 with training.horizon 16"),
        ({"curriculum": (4, 16)}, "the last one below training.horizon"),
        ({"curriculum": (0, 8)}, "give shorter horizons that grow"),
        ({"curriculum": (4, 10)}, "multiples of training.truncation 4"),
        ({"unrolls": 2}, "less than the 3 stages"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(OPTIONS, **options)  # pyright: ignore[reportArgumentType]
