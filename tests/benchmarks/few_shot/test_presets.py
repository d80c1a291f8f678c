"""Presets say what was published, and the command line shows them and lets every value be overridden."""

import pytest

from benchmarks.few_shot.command import parse
from benchmarks.few_shot.config import FewShotConfig
from benchmarks.few_shot.presets import PRESETS, preset
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.learners.sib import SIBOptions


def resolve(*arguments):
    return parse(arguments)


@pytest.mark.parametrize(
    ("name", "shot", "published"),
    [
        ("paper", 1, (12, 5, 75_000, 1e-3, "norm", 0.25, 0.9, "mean_over_batch", 0.01, (4.0, 5.0))),
        ("paper", 5, (8, 25, 50_000, 1e-3, "norm", 0.25, 0.95, "mean_over_batch", 0.01, (4.0, 5.0))),
        ("authors_code", 1, (10, 5, 50_000, 1e-4, "value", 1.0, 0.95, "mean", 20**-0.5, (4.0, 6.0))),
        ("authors_code", 5, (8, 25, 50_000, 1e-3, "value", 1.0, 0.95, "mean", 20**-0.5, (4.0, 6.0))),
    ],
)
def test_meta_lstm_presets_are_the_published_settings(name, shot, published):
    c = preset(name, FewShotConfig(dataset="mini_imagenet", shot=shot, regularizer="smooth"))
    learner, training = c.learner, c.training
    assert published == (
        *(learner.inner_epochs, learner.batch_size, training.episodes, training.meta_rate, training.clip),
        *(training.clip_at, learner.norm_momentum, learner.gradient, learner.init_scale, learner.forget_bias),
    )
    assert (learner.input_bias, c.penalty.weight, c.penalty.radius) == ((-5.0, -4.0), 1.0, 1.0)
    assert (c.normalize, training.augment) == ((True, True) if name == "authors_code" else (False, False))
    assert (training.validate_every, training.validation_episodes, c.test.episodes) == (1000, 100, 600)


@pytest.mark.parametrize("dataset", ["mini_imagenet", "cifar_fs"])
@pytest.mark.parametrize("shot", [1, 5])
def test_sib_presets_are_the_published_settings(dataset, shot):
    c = preset("paper", FewShotConfig(method="sib", dataset=dataset, shot=shot, learner=SIBOptions()))
    learner, training = c.learner, c.training
    assert isinstance(learner, SIBOptions)
    assert (learner.backbone, learner.steps, learner.rate, learner.width) == ("wrn_28_10", 3, 1e-3, 8)
    assert (training.episodes, training.episodes_per_step, training.optimizer) == (50_000, 1, "sgd")
    assert (training.meta_rate, training.weight_decay, training.clip) == (1e-3, 5e-4, "none")
    assert (training.validate_every, training.validation_episodes, c.test.episodes) == (1000, 1000, 2000)


def test_the_help_shows_the_options_of_the_method(capsys):
    for method, own in (("sib", "--learner.backbone"), ("meta_lstm", "--learner.filters"), ("maml", "--learner.rate")):
        with pytest.raises(SystemExit):
            resolve("--method", method, "--help")
        printed = capsys.readouterr().out
        assert own in printed
        assert ("--learner.filters" in printed) == (method == "meta_lstm")


def test_learner_options_of_another_method_are_refused():
    with pytest.raises(InputError, match="learner options are MetaLSTMOptions; give SIBOptions"):
        FewShotConfig(method="sib", learner=METHODS["meta_lstm"].options())


def test_auto_is_quick_for_the_small_datasets_and_the_paper_otherwise():
    assert resolve().training == preset("quick", FewShotConfig()).training
    assert resolve("--dataset", "mini_imagenet").training == preset("paper", FewShotConfig()).training


@pytest.mark.parametrize(("method", "name"), [key.split(".") for key in PRESETS])
@pytest.mark.parametrize("shot", [1, 5])
def test_every_preset_resolves_and_can_be_overridden(method, name, shot):
    chosen = ["--method", method, "--preset", name, "--shot", str(shot), "--way", "4", "--dataset", "mini_imagenet"]
    command = resolve(*chosen, "--training.episodes", "7", "--seeds", "3", "4")
    assert (command.way, command.shot, command.training.episodes, command.seeds) == (4, shot, 7, (3, 4))
    learner = METHODS[method].options()
    base = preset(name, FewShotConfig(method=method, dataset="mini_imagenet", way=4, shot=shot, learner=learner))
    assert command.config.learner == base.learner
    assert command.config.sha256() != base.sha256()


def test_smooth_is_short_for_the_regularizer():
    assert resolve("--smooth").config == resolve("--regularizer", "smooth").config
    assert resolve("--smooth").config != resolve().config
    assert resolve("--smooth").config.plain() == resolve().config.plain()


def test_penalty_options_do_not_tell_plain_runs_apart():
    plain = resolve("--preset", "quick")
    assert plain.config.to_dict()["penalty"] is None
    smooth = resolve("--smooth", "--penalty.weight", "9")
    assert smooth.config.plain().sha256() == plain.config.sha256()


def test_identity_is_stable_and_sensitive():
    assert resolve().config.sha256() == resolve("--seeds", "5", "--quiet", "--results", "elsewhere").config.sha256()
    assert resolve().config.sha256() != resolve("--query", "14").config.sha256()


@pytest.mark.parametrize("arguments", [["--seeds", "-1"], ["--test.episodes", "0"]])
def test_refusals_name_the_value(arguments):
    with pytest.raises(InputError, match=arguments[1]):
        resolve(*arguments)
