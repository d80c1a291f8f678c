"""The outer loop on a learner small enough to be retrained many times."""

import math
import pickle
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from fewshot.data.episodes import Episode
from fewshot.engine.checkpoint import load_checkpoint, save_checkpoint
from fewshot.engine.evaluate import count_correct
from fewshot.engine.few_shot import MetaTrainer, MetaTrainingFailed, TrainingOptions
from fewshot.errors import InputError
from fewshot.learners.base import Prediction
from fewshot.regularizers import Regularizer

CPU = torch.device("cpu")


class Linear(nn.Module):
    """Logits are a linear function of the query; the penalty draws noise like PGD does."""

    transductive = False

    def __init__(self, regularizer, spoil=()):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
            self.layer.bias.zero_()
        self.regularizer, self.spoil = regularizer, spoil

    def forward(self, episode):
        logits = self.layer(episode.query_x)
        if int(episode.classes[0]) in self.spoil:
            logits = logits * float("nan")
        noise = torch.randn((), generator=torch.Generator().manual_seed(self.regularizer.seed))
        return Prediction(logits, 0.01 * (self.layer.weight * noise).square().sum(), {"size": torch.ones(2)})


class Seeded(Regularizer):
    seed = 0

    def reseed(self, seed):
        self.seed = seed


class Silent:
    def __init__(self, stop_after=None):
        self.stop_after, self.validations = stop_after, []

    def step(self, episode, scalars):
        if episode == self.stop_after:
            raise KeyboardInterrupt

    def validated(self, episode, accuracy, best):
        self.validations.append((episode, accuracy, best))


def episode_at(index):
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(30, 4, generator=generator)
    y = x[:, :3].argmax(dim=1)
    empty = np.zeros(0, dtype=np.int64)
    return Episode(x, y, x, y, np.array([index]), empty, empty)


def validate(learner):
    return count_correct(learner, [episode_at(10_000 + i) for i in range(4)]) / 30


def make_trainer(path=None, spoil=(), identity="a", **options):
    regularizer = Seeded()
    options = TrainingOptions(**{"episodes": 60, "meta_rate": 0.02, "validate_every": 7, "clip": "none", **options})
    learner = Linear(regularizer, spoil)
    return MetaTrainer(
        learner, regularizer, options, 0, episode_at, validate, {"configuration": identity}, path, checkpoint_seconds=0
    )


def final_state(trainer):
    progress = {k: v for k, v in asdict(trainer.progress).items() if k not in ("seconds", "interruptions")}
    return progress, pickle.dumps([v.numpy() for v in (*trainer.learner.state_dict().values(), *trainer.best.values())])


def test_training_learns_and_keeps_the_best_model():
    trainer, observer = make_trainer(), Silent()
    before = validate(trainer.learner).mean()
    progress = trainer.run(observer)
    assert progress.best_accuracy > before + 0.2
    assert max(a for _, a, _ in observer.validations) == progress.best_accuracy
    best = next(e for e, a, _ in observer.validations if a == progress.best_accuracy)
    assert progress.best_episode == best
    assert [point["episode"] for point in progress.curve] == [10, 20, 30, 40, 50, 60]
    assert set(progress.curve[0]) == {"episode", "loss", "accuracy", "penalty", "gradient_norm", "size"}


def test_the_best_model_survives_later_steps():
    trainer = make_trainer(meta_rate=1.0, validate_every=1, episodes=40)
    progress = trainer.run(Silent())
    assert progress.best_episode < 40
    assert validate(trainer.learner).mean() < progress.best_accuracy
    trainer.learner.load_state_dict(trainer.best)
    assert validate(trainer.learner).mean() == progress.best_accuracy


@pytest.mark.parametrize("stops", [(1,), (7,), (13, 29), (59,), (5, 6, 7, 8, 40)])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, stops):
    undisturbed = make_trainer()
    undisturbed.run(Silent())
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            make_trainer(tmp_path / "c.pt").run(Silent(stop_after=stop))
    resumed = make_trainer(tmp_path / "c.pt")
    resumed.run(Silent())
    assert final_state(resumed) == final_state(undisturbed)


def test_non_finite_steps_are_skipped_and_counted():
    trainer = make_trainer(spoil=range(3, 22))
    weights = trainer.learner.layer.weight
    progress = trainer.run(Silent())
    assert progress.skipped == 19
    assert progress.skipped_in_a_row == 0
    assert torch.isfinite(weights).all()
    assert all(math.isfinite(v) for point in progress.curve for v in point.values())
    assert [point["episode"] for point in progress.curve] == [10, 30, 40, 50, 60]


def test_twenty_non_finite_steps_in_a_row_end_the_run():
    with pytest.raises(MetaTrainingFailed, match=r"meta-loss was not finite in 20 .* the last at episode 22"):
        make_trainer(spoil=range(3, 23)).run(Silent())


def test_a_model_with_non_finite_logits_is_never_the_best():
    trainer = make_trainer(spoil=[10_001], episodes=7)
    progress = trainer.run(Silent())
    assert progress.best_episode == 0
    assert progress.validation == [{"episode": 7, "accuracy": -1.0}]


@pytest.mark.parametrize(("clip", "largest"), [("norm", None), ("value", 1e-4)])
def test_clipping(clip, largest):
    trainer = make_trainer(clip=clip, clip_at=1e-4)
    scalars = trainer._step(0).scalars
    gradients = [p.grad for p in trainer.learner.parameters()]
    assert scalars["gradient_norm"] > 0.01
    if largest is None:
        assert nn.utils.get_total_norm(gradients).item() == pytest.approx(1e-4, rel=1e-4)
    else:
        assert max(g.abs().max().item() for g in gradients) == pytest.approx(largest)


def test_global_random_state_does_not_move():
    trainer = make_trainer()
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    trainer.run(Silent())
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    make_trainer(tmp_path / "c.pt").run(Silent())
    with pytest.raises(InputError, match=r"another configuration.*--fresh"):
        make_trainer(tmp_path / "c.pt", identity="b")


class Exploit:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('owned').touch()",))


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "exploit", "version", "missing"])
def test_damaged_checkpoints_are_refused(tmp_path, damage, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.pt"
    make_trainer(path).run(Silent())
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "garbage":
        path.write_bytes(b"not a checkpoint" * 9)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "exploit":
        save_checkpoint(path, {"identity": Exploit()})
    elif damage == "version":
        torch.save({"version": 1, "identity": {"configuration": "a"}}, path)
    else:
        save_checkpoint(path, {"identity": {"configuration": "a"}})
    with pytest.raises(InputError, match=r"checkpoint .*c\.pt .*--fresh"):
        make_trainer(path)
    assert not (tmp_path / "owned").exists()


def test_checkpoints_hold_what_was_saved(tmp_path):
    content = {"weights": torch.arange(3.0), "list": [1, 2.5, "x", None, True], "dict": {"a": {"b": 1}}}
    save_checkpoint(tmp_path / "c.pt", content)
    loaded = load_checkpoint(tmp_path / "c.pt", CPU)
    assert torch.equal(loaded["weights"], content["weights"])
    assert loaded["list"] == content["list"]
    assert loaded["dict"] == content["dict"]


@pytest.mark.parametrize(
    "options",
    [{"episodes": 0}, {"validate_every": 0}, {"validation_episodes": -1}, {"meta_rate": 0.0}, {"clip_at": -1.0}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=f"training.{next(iter(options))} is"):
        TrainingOptions(**options)


def test_evaluation_restores_the_mode_and_reports_non_finite_logits():
    learner = Linear(Seeded()).train()
    count_correct(learner, [episode_at(0)])
    assert learner.training
    with torch.no_grad():
        learner.layer.weight.fill_(float("inf"))
    with pytest.raises(FloatingPointError, match="evaluation episode 0"):
        count_correct(learner, [episode_at(0)])
    assert learner.training
