"""SIB against a slow loop that follows the paper's Algorithm 1 query by query, and what must hold of it exactly."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fewshot.data.episodes import Episode, stack
from fewshot.engine.evaluate import count_correct
from fewshot.learners import METHODS
from fewshot.learners.protonet import ProtoNet
from fewshot.learners.sib import SIBOptions
from fewshot.optimizers import NeuralOptimizer
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions

SIZES = [(5, 1, 3), (5, 5, 3), (5, 5, 5), (10, 2, 1)]
FEATURES = 12
QUERY = 4


def make_episode(way=5, shot=1, seed=0, query=QUERY, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    nothing = np.zeros(0, dtype=np.int64)
    centres = torch.randn(way, FEATURES, generator=generator, dtype=dtype)
    labels = torch.arange(way).repeat(shot), torch.arange(way).repeat(query)
    support, queries = (
        (centres[y] + torch.randn(len(y), FEATURES, generator=generator, dtype=dtype)).relu() for y in labels
    )
    return Episode(support, labels[0], queries, labels[1], nothing, nothing, nothing)


def make_learner(way=5, steps=3, regularizer=None, rate=0.1, seed=0):
    """In float64, at parameters away from their special initial values."""
    generator = torch.Generator().manual_seed(seed)
    options = SIBOptions(steps=steps, rate=rate)
    learner = METHODS["sib"].build(FEATURES, 1, way, options, regularizer or Regularizer(), generator).double()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return learner


def slow_scores(episode, way, steps, rate, p):
    """Scores of all queries and the list of states: scalars and vectors one by one, derivatives by autograd."""
    unit = lambda v: v / v.square().sum().sqrt()  # noqa: E731
    theta = []
    for c in range(way):
        members = [unit(x) for x, y in zip(episode.support_x, episode.support_y, strict=True) if y == c]
        theta.append(p["diagonal"] * sum(members) / len(members))
    theta = torch.stack(theta)

    def scores(theta):
        return torch.stack(
            [
                torch.stack([p["scores.scale"] * (p["scores.bias"] + (unit(x) * unit(t)).sum()) for t in theta])
                for x in episode.query_x
            ]
        )

    def layer(rows, name):
        active = [(p[f"{name}.weight"] @ row + p[f"{name}.bias"]).clamp(min=0) for row in rows]
        mean = sum(active) / len(active)
        variance = sum((a - mean) ** 2 for a in active) / len(active)
        return [(a - mean) / (variance + 1e-5).sqrt() * p[f"{name}.gain"] + p[f"{name}.offset"] for a in active]

    for _ in range(steps):
        z = scores(theta)
        hidden = layer(layer(list(z), "core.first"), "core.second")
        u = torch.stack([p["core.weight"] @ row + p["core.bias"] for row in hidden])
        (pulled,) = torch.autograd.grad(z, theta, u, create_graph=True)
        theta = theta - rate * pulled
    return scores(theta)


def meta_loss(logits, labels):
    return -sum(row.log_softmax(0)[y] for row, y in zip(logits, labels, strict=True)) / len(labels)


@pytest.mark.parametrize(("way", "shot", "steps"), SIZES)
def test_scores_loss_and_all_meta_gradients_are_those_of_the_slow_loop(way, shot, steps):
    learner, episode = make_learner(way, steps), make_episode(way, shot)
    named = dict(learner.named_parameters())
    logits = learner(episode).logits
    loss = torch.nn.functional.cross_entropy(logits, episode.query_y)
    gradients = torch.autograd.grad(loss, list(named.values()))

    expected = slow_scores(episode, way, steps, 0.1, named)
    expected_loss = meta_loss(expected, episode.query_y)
    expected_gradients = torch.autograd.grad(expected_loss, list(named.values()))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(loss, expected_loss, rtol=0, atol=1e-10)
    for name, ours, slow in zip(named, gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, slow, rtol=0, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")
    # The comparison means something: every step moves the scores, and every parameter matters.
    assert (logits - slow_scores(episode, way, 0, 0.1, named)).abs().max() > 1e-3
    assert all(g.abs().max() > 1e-9 for name, g in zip(named, gradients, strict=True) if name != "scores.bias")


def test_the_meta_parameters_are_those_of_the_original():
    learner = METHODS["sib"].build(640, 1, 5, SIBOptions(), Regularizer(), torch.Generator().manual_seed(0))
    assert sum(p.numel() for p in learner.parameters()) == 2887
    assert not list(learner.buffers())


def test_permuting_queries_permutes_outputs_and_they_depend_on_each_other():
    learner, episode = make_learner(), make_episode(shot=2)
    order = torch.randperm(len(episode.query_y), generator=torch.Generator().manual_seed(1))
    permuted = replace(episode, query_x=episode.query_x[order], query_y=episode.query_y[order])
    logits = learner(episode).logits
    torch.testing.assert_close(learner(permuted).logits, logits[order], rtol=0, atol=1e-12)
    fewer = replace(episode, query_x=episode.query_x[:-1], query_y=episode.query_y[:-1])
    assert (learner(fewer).logits - logits[:-1]).abs().max() > 1e-6
    assert learner.transductive
    assert not make_learner(steps=0).transductive


@pytest.mark.parametrize("steps", [0, 3])
def test_permuting_classes_permutes_outputs_without_synthetic_gradients_only(steps):
    """φ has one input a class and treats each differently, as the original's."""
    learner, episode = make_learner(steps=steps), make_episode(shot=2)
    new = torch.tensor([3, 0, 4, 1, 2])  # class c is now called new[c]
    relabelled = replace(episode, support_y=new[episode.support_y], query_y=new[episode.query_y])
    gap = (learner(relabelled).logits[:, new] - learner(episode).logits).abs().max()
    assert gap < 1e-12 if steps == 0 else gap > 1e-6


@pytest.mark.parametrize("columns", ["default", "theta"])
def test_a_batch_of_episodes_is_the_loop_over_them(columns, monkeypatch):
    episodes = [make_episode(shot=2, seed=seed) for seed in range(4)]
    learner = make_learner(regularizer=Smoothness(SmoothOptions(columns=columns, radius=0.3)))

    def same_noise(shape, **_):  # for every episode and step; a batch would draw other numbers
        return torch.arange(shape[-2:].numel(), dtype=torch.float64).cos().view(shape[-2:]).expand(shape)

    monkeypatch.setattr("fewshot.regularizers.smoothness.torch.randn", same_noise)
    apart = [learner(episode) for episode in episodes]
    together = learner(stack(episodes))
    torch.testing.assert_close(together.logits, torch.stack([p.logits for p in apart]), rtol=0, atol=1e-12)
    torch.testing.assert_close(together.penalty, sum(p.penalty for p in apart) / 4, rtol=1e-10, atol=0)


def test_batched_evaluation_counts_what_one_by_one_counts():
    episodes = [make_episode(shot=1, seed=seed) for seed in range(70)]
    learner = make_learner(rate=1.0)
    advanced = []
    together = count_correct(learner, episodes, lambda: advanced.append(1))
    with torch.no_grad():
        apart = [int((learner(e).logits.argmax(1) == e.query_y).sum()) for e in episodes]
    assert together.tolist() == apart
    assert len(advanced) == 70
    assert len(set(apart)) > 3
    episodes[45] = replace(episodes[45], query_x=episodes[45].query_x * math.nan)
    with pytest.raises(FloatingPointError, match="evaluation episode 45"):
        count_correct(learner, episodes)


def test_without_steps_it_is_the_nearest_centroid():
    episode, fresh = make_episode(shot=3), ProtoNet(5).double()
    generator = torch.Generator().manual_seed(0)
    learner = METHODS["sib"].build(FEATURES, 1, 5, SIBOptions(steps=0), Regularizer(), generator).double()
    torch.testing.assert_close(learner(episode).logits, fresh(episode).logits, rtol=0, atol=1e-12)
    support = torch.nn.functional.normalize(episode.support_x, dim=1)
    means = torch.stack([support[episode.support_y == c].mean(0) for c in range(5)])
    cosines = torch.nn.functional.cosine_similarity(episode.query_x[:, None], means[None], dim=2)
    torch.testing.assert_close(fresh(episode).logits, 10 * cosines, rtol=0, atol=1e-12)
    assert float(learner(episode).penalty) == 0


def test_a_network_that_answers_zero_moves_nothing():
    episode, learner = make_episode(shot=2), make_learner()
    start = make_learner(steps=0)
    start.load_state_dict(learner.state_dict())
    with torch.no_grad():
        learner.core.weight.zero_()
        learner.core.bias.zero_()
    assert torch.equal(learner(episode).logits, start(episode).logits)


def penalty_of(radius, columns, episode, **options):
    regularizer = Smoothness(SmoothOptions(radius=radius, columns=columns, **options))
    regularizer.reseed(0)
    return float(make_learner(regularizer=regularizer)(episode).penalty.detach())


@pytest.mark.parametrize("columns", ["default", "theta"])
def test_the_penalty_grows_with_the_radius_from_zero(columns):
    penalties = [penalty_of(radius, columns, make_episode(shot=2)) for radius in (0, 1e-3, 1e-2, 0.1, 0.5)]
    assert penalties[0] < 1e-25  # the square of rounding: all steps are computed at once
    assert penalties == sorted(penalties)
    assert penalties[1] > 0


@pytest.mark.parametrize("columns", ["default", "theta"])
def test_what_is_compared_lies_within_the_ball_and_the_penalty_is_its_gap(columns, monkeypatch):
    seen = []
    ascend = Smoothness._ascend

    def spy(self, response, center, update):
        values = ascend(self, response, center, update)
        seen.append((center, values, response, update))
        return values

    monkeypatch.setattr(Smoothness, "_ascend", spy)
    radius = 0.3
    penalty = penalty_of(radius, columns, make_episode(shot=2))
    ((center, values, response, update),) = seen  # all three steps at once
    width = FEATURES if columns == "theta" else 5
    assert center.shape[-1] == width
    assert len(center) == 3
    assert ((values - center).abs() <= radius + 1e-12).all()
    assert ((values - center).abs() > 0.9 * radius).double().mean() > 0.5
    gap = (response(values) - update).square().sum(-1)
    assert penalty == pytest.approx(float(gap.mean(-1).sum().detach()), rel=1e-10)
    stay = (response(center + 0.01 * radius) - update).square().sum(-1)
    assert gap.sum() > stay.sum()


@pytest.mark.parametrize("columns", ["default", "theta"])
def test_closed_form_ascents_are_those_of_autograd(columns, monkeypatch):
    episode = make_episode(shot=2)
    closed = penalty_of(0.3, columns, episode)
    for core in ("fewshot.optimizers.synthetic_gradient.SyntheticGradient", "fewshot.learners.sib.ThetaSpace"):
        monkeypatch.setattr(f"{core}.response", NeuralOptimizer.response)
    assert penalty_of(0.3, columns, episode) == pytest.approx(closed, rel=1e-9)


def test_smoothing_makes_the_network_smoother():
    episode = make_episode(shot=2)
    regularizer = Smoothness(SmoothOptions(radius=0.3))
    learner = make_learner(regularizer=regularizer)
    optimizer = torch.optim.SGD(learner.parameters(), 1e-3)
    penalties = []
    for _ in range(20):
        regularizer.reseed(0)
        penalty = learner(episode).penalty
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
        penalties.append(float(penalty.detach()))
    assert 0 < penalties[-1] < 0.5 * penalties[0]
