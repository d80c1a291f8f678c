"""What every few-shot learner promises, checked for each one in the registry with the defaults of its options."""

import numpy as np
import pytest
import torch

from fewshot.data.episodes import Episode, stack
from fewshot.errors import InputError
from fewshot.learners import METHODS, Method, Prediction
from fewshot.learners.base import is_batched
from fewshot.learners.features import FeatureOptions
from fewshot.learners.protonet import ProtoNet
from fewshot.regularizers import REGULARIZERS, Regularizer

WAY, SHOT, QUERY = 3, 2, 4


def build(name, regularizer=None, seed=0):
    method = METHODS[name]
    channels, size = (7, 1) if method.learns_from == "features" else (1, 28)
    generator = torch.Generator().manual_seed(seed)
    try:
        return method.build(channels, size, WAY, method.options(), regularizer or Regularizer(), generator)
    except InputError as error:
        pytest.skip(str(error))  # learn2learn is an extra


def episode_for(name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    of_features = METHODS[name].learns_from == "features"

    def draw(count):
        if of_features:
            return torch.rand(count, 7, generator=generator)
        return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)

    nothing, labels = np.zeros(0, dtype=np.int64), torch.arange(WAY)
    support, query = labels.repeat_interleave(SHOT), labels.repeat_interleave(QUERY)
    return Episode(draw(WAY * SHOT), support, draw(WAY * QUERY), query, nothing, nothing, nothing)


@pytest.mark.parametrize("name", METHODS)
def test_an_episode_gives_logits_of_its_queries_and_a_penalty(name):
    learner = build(name)
    prediction = learner(episode_for(name))
    assert isinstance(prediction, Prediction)
    assert prediction.logits.shape == (WAY * QUERY, WAY)
    assert prediction.logits.isfinite().all()
    assert prediction.penalty.shape == ()
    assert prediction.penalty == 0
    assert isinstance(learner.transductive, bool)
    assert all(values.ndim == 1 for values in prediction.diagnostics.values())
    gradients = torch.autograd.grad(prediction.logits.square().sum(), list(learner.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_carried_from_one_episode_to_the_next(name):
    learner = build(name).eval()
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    global_state = torch.random.get_rng_state()
    first = learner(episode_for(name)).logits
    learner(episode_for(name, seed=1))
    assert torch.equal(learner(episode_for(name)).logits, first)
    assert all(torch.equal(learner.state_dict()[key], value) for key, value in before.items())
    assert torch.equal(torch.random.get_rng_state(), global_state)


@pytest.mark.parametrize("name", METHODS)
def test_initial_parameters_belong_to_the_generator(name):
    twins = [build(name, seed=4).state_dict() for _ in range(2)]
    assert all(torch.equal(twins[0][key], twins[1][key]) for key in twins[0])


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.learns_from == "features"])
def test_a_learner_that_is_batched_takes_a_stack_of_episodes(name):
    learner = build(name)
    assert is_batched(learner)
    episodes = [episode_for(name, seed) for seed in range(3)]
    together = learner(stack(episodes)).logits
    torch.testing.assert_close(together, torch.stack([learner(e).logits for e in episodes]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.regularized])
def test_regularized_learners_take_every_regularizer(name, regularizer):
    chosen = REGULARIZERS[regularizer]()
    chosen.reseed(0)
    learner = build(name, chosen)
    penalty = learner(episode_for(name)).penalty
    assert penalty.isfinite()
    assert (penalty > 0) == (regularizer not in ("none", "spectral"))
    with torch.no_grad():
        assert learner(episode_for(name)).penalty == 0


def test_an_own_learner_is_a_class_and_a_line():
    try:
        METHODS.register("own", Method(FeatureOptions, lambda channels, size, way, *_: ProtoNet(way)))
        method = METHODS.find("own")
        assert (method.learns_from, method.regularized) == ("features", False)
        assert build("own")(episode_for("own")).logits.shape == (WAY * QUERY, WAY)
        with pytest.raises(InputError, match="method 'own' exists already"):
            METHODS["own"] = METHODS["maml"]
    finally:
        del METHODS["own"]
