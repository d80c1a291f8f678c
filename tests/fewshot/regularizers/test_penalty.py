"""λ, reductions, groups and batches: whatever the regularizer, its author knows of none of them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fewshot.data.episodes import Episode, stack
from fewshot.engine.unroll import Unroll
from fewshot.errors import InputError
from fewshot.general.tasks import Quadratic
from fewshot.learners import METHODS
from fewshot.learners.sib import SIBOptions
from fewshot.optimizers import DM, LEARNED, NeuralOptimizer, RNNprop, Simple, Step
from fewshot.regularizers import (
    L2,
    REGULARIZERS,
    Orthogonal,
    Regularizer,
    RowOptions,
    Smoothness,
    SmoothOptions,
    WeightOptions,
    inner_step,
)
from fewshot.regularizers.penalty import core_penalty, episode_penalty, step_penalty, weighted


class SmallUpdates(Regularizer):
    """The example of README: R = ||u||² of every row."""

    Options = RowOptions

    def per_row(self, core, step):
        return step.update.square().sum(-1)


class Flat(NeuralOptimizer):
    """A core without a matrix."""

    state_size = 1
    columns = {"features": slice(0, 1)}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, state, hidden):
        return self.scale * state, hidden


def make(name, **values):
    """A regularizer of the registry, or the example, with those of some options that it has."""
    kind = SmallUpdates if name == "own" else REGULARIZERS[name]
    known = {key: value for key, value in values.items() if hasattr(kind.Options(), key)}
    return kind(kind.Options(**known))


def sib(regularizer, **options):
    generator = torch.Generator().manual_seed(0)
    return METHODS["sib"].build(12, 1, 5, SIBOptions(steps=3, **options), regularizer, generator).double()


def episode_of(seed):
    support, query = torch.rand(2, 15, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    labels, nothing = torch.arange(5).repeat(3), np.zeros(0, dtype=np.int64)
    return Episode(support, labels, query, labels, nothing, nothing, nothing)


@pytest.fixture
def same_noise(monkeypatch):
    """For every episode and step; a batch would draw other numbers."""

    def draw(shape, **_):
        return torch.arange(shape[-2:].numel(), dtype=torch.float64).cos().view(shape[-2:]).expand(shape)

    monkeypatch.setattr("fewshot.regularizers.smoothness.torch.randn", draw)


@pytest.mark.usefixtures("same_noise")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", [*REGULARIZERS, "own"])
def test_weight_means_the_same_however_many_episodes_make_a_step(name, reduction):
    """The penalty of a batch is the mean of its episodes' penalties, that of the core included."""
    learner = sib(make(name, weight=0.7, reduction=reduction))
    episodes = [episode_of(seed) for seed in range(3)]
    apart = torch.stack([learner(episode).penalty for episode in episodes])
    torch.testing.assert_close(learner(stack(episodes)).penalty, apart.mean(), rtol=1e-10, atol=1e-15)
    assert (apart.mean() > 0) == (name not in ("none", "spectral"))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", [*REGULARIZERS, "own"])
def test_weight_means_the_same_however_many_networks_are_trained_at_once(name, reduction):
    """λ R of a step of several networks is the mean of theirs."""
    options = {"weight": 0.7, "reduction": reduction, "maximum": "endpoints"}

    def penalties(problems):
        regularizer = make(name, **options)
        core = regularizer.attach(Simple(torch.Generator().manual_seed(0)).double())
        return Unroll(core, regularizer, problems, 0).truncation([1.0] * 4).penalty

    problems = [Quadratic(dtype=torch.float64).problem("train", seed, 8) for seed in range(3)]
    apart = torch.stack([penalties([problem]) for problem in problems])
    torch.testing.assert_close(penalties(problems), apart.mean(dim=0), rtol=1e-10, atol=1e-15)
    assert (apart > 0).any() == (name not in ("none", "spectral"))


def test_sum_and_mean_of_rows_and_sum_of_groups():
    """Against numbers written down: two groups of three rows."""
    update = torch.tensor([[[1.0], [2.0], [3.0]], [[0.0], [0.0], [1.0]]])
    step = Step(update, (), update, ())
    assert step_penalty(Flat(), SmallUpdates(), step).item() == pytest.approx(14 / 3 + 1 / 3)
    assert step_penalty(Flat(), SmallUpdates(RowOptions(reduction="sum")), step).item() == 15
    assert step_penalty(Flat(), SmallUpdates(RowOptions(reduction="sum")), step, networks=3).item() == 5


def test_weight_multiplies_rows_and_core_once():
    class Both(SmallUpdates):
        def per_core(self, core):
            return core.scale.square().sum()

    core, regularizer = Flat(), Both(RowOptions(weight=10.0))
    terms = [torch.tensor(2.0), torch.tensor(4.0)]
    assert weighted(regularizer, terms[0]).item() == 20
    assert core_penalty(core, regularizer).item() == 10
    assert episode_penalty(core, regularizer, terms).item() == 10 * (2 + 4 + 1)
    assert episode_penalty(core, regularizer, terms, episodes=2).item() == 10 * (3 + 1)


def test_a_regularizer_without_options_has_weight_one():
    class Plain(Regularizer):
        def per_row(self, core, step):
            return step.update.square().sum(-1)

    step, penalty = inner_step(Flat(), Plain(), torch.ones(4, 1), ())
    assert weighted(Plain(), penalty).item() == 1 == step.update[0].item()


def test_nothing_is_asked_of_a_regularizer_without_gradients():
    class Never(Regularizer):
        def per_row(self, core, step):
            raise AssertionError

        per_core = per_row

    learner = sib(Never())
    with torch.no_grad():
        prediction = learner(episode_of(0))
        _, penalty = inner_step(Flat(), Never(), torch.ones(4, 1), ())
    assert prediction.penalty == penalty == 0
    assert not prediction.penalty.requires_grad


@pytest.mark.parametrize("result", [torch.tensor(1.0), torch.ones(4, 1), torch.ones(3)])
def test_anything_but_a_number_for_each_row_is_refused(result):
    class Wrong(Regularizer):
        def per_row(self, core, step):
            return result

    with pytest.raises(InputError, match=r"Wrong.per_row gave .* one number for each row"):
        inner_step(Flat(), Wrong(), torch.ones(4, 1), ())


@pytest.mark.parametrize("name", REGULARIZERS)
def test_options_have_defaults_and_their_own_fields_alone(name):
    options = REGULARIZERS[name].Options()
    assert hasattr(options, "weight") == (name in ("smooth", "l2", "orthogonal"))
    assert hasattr(options, "radius") == hasattr(options, "reduction") == (name == "smooth")


@pytest.mark.parametrize("kind", [L2, Orthogonal])
def test_penalties_on_matrices_refuse_cores_without_any(kind):
    with pytest.raises(InputError, match=f"Flat has no weight matrix for {kind.__name__} to act on"):
        kind().attach(Flat())


def test_an_exact_maximum_over_theta_is_refused():
    with pytest.raises(InputError, match=r"penalty.maximum is exact, but ThetaSpace knows no exact maximum"):
        sib(Smoothness(SmoothOptions(columns="theta", maximum="exact")))


@pytest.mark.parametrize("kind", [Simple, DM, RNNprop])
@pytest.mark.parametrize("scale", [math.nan, math.inf, 0.0, -1.0])
def test_output_scales_that_make_no_update_are_refused(kind, scale):
    with pytest.raises(InputError, match=f"output_scale is {scale}"):
        kind.Options(output_scale=scale)


@pytest.mark.parametrize("p", [0.0, 88.0, 800.0, math.nan])
def test_ranges_of_the_logarithm_that_overflow_are_refused(p):
    with pytest.raises(InputError, match=rf"p is {p}; it must be positive and at most 87"):
        DM.Options(p=p)


def test_the_largest_range_of_the_logarithm_works():
    core = DM(torch.Generator().manual_seed(0), DM.Options(p=87.0))
    gradient = torch.tensor([0.0, 1e-40, 1e-37, 1.0, 1e30])
    state, _ = core.features(gradient, gradient, ())
    assert state.isfinite().all()


@pytest.mark.parametrize("options", [WeightOptions, RowOptions, SmoothOptions])
@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_below_zero_are_refused(options, weight):
    with pytest.raises(InputError, match=r"penalty\.weight is"):
        options(weight=weight)


def test_optimizers_registered_from_outside_are_there_at_once():
    class Own(Simple):
        pass

    try:
        LEARNED["own"] = Own
        assert LEARNED.find("own") is Own
    finally:
        del LEARNED["own"]
