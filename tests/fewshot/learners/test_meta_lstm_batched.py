"""Meta-LSTM on several episodes at once, and in bfloat16."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from test_meta_lstm import make_episode, make_learner

from fewshot.data.episodes import stack
from fewshot.engine.evaluate import count_correct
from fewshot.learners import meta_lstm
from fewshot.learners.base import episodes_at_once
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_episodes_is_each_of_them(monkeypatch, grouped, reduction, training):
    monkeypatch.setattr(meta_lstm, "GROUPED", 32 if grouped else 0)
    learner = make_learner(Smoothness(SmoothOptions(radius=0.7, reduction=reduction, weight=0.3))).train(training)
    episodes = [make_episode(seed) for seed in range(3)]
    together, alone = learner(stack(episodes)), [learner(episode) for episode in episodes]
    torch.testing.assert_close(together.logits, torch.stack([p.logits for p in alone]), rtol=1e-9, atol=1e-11)
    assert not torch.allclose(alone[0].logits, alone[1].logits)
    torch.testing.assert_close(together.penalty, torch.stack([p.penalty for p in alone]).mean(), rtol=1e-9, atol=0)
    for name, values in together.diagnostics.items():
        torch.testing.assert_close(values, torch.stack([p.diagnostics[name] for p in alone]).mean(dim=0))


def test_the_meta_gradient_of_several_episodes_is_their_mean():
    learner = make_learner(Smoothness(SmoothOptions(radius=0.7)))
    episodes = [make_episode(seed) for seed in range(3)]

    def gradients(episode):
        prediction = learner(episode)
        loss = F.cross_entropy(prediction.logits.flatten(0, -2), episode.query_y.flatten()) + prediction.penalty
        return torch.autograd.grad(loss, list(learner.parameters()))

    together, alone = gradients(stack(episodes)), [gradients(episode) for episode in episodes]
    for mine, theirs in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(mine, torch.stack(theirs).mean(dim=0), rtol=1e-7, atol=1e-11)


def test_evaluation_in_batches_counts_what_it_counts_one_by_one(monkeypatch):
    learner, labels = make_learner(), torch.randint(3, (11, 6), generator=torch.Generator().manual_seed(0))
    episodes = [replace(make_episode(seed), query_y=own) for seed, own in enumerate(labels)]
    assert episodes_at_once(learner) == 8
    together = count_correct(learner, episodes)
    monkeypatch.setattr(meta_lstm, "GROUPED", 0)
    assert episodes_at_once(learner) == 1
    assert together.tolist() == count_correct(learner, episodes).tolist()
    assert len(set(together.tolist())) > 1


def test_bfloat16_is_of_the_network_alone():
    """Logits move by what bfloat16 rounds; everything that is learned, or remembered, is float32."""
    learner, episode = make_learner(Regularizer()).float(), make_episode()
    episode = replace(episode, support_x=episode.support_x.float(), query_x=episode.query_x.float())
    seen = []
    learner.core.register_forward_hook(lambda _, inputs, outputs: seen.extend([*inputs[:1], outputs[0]]))
    full = learner(episode).logits
    learner.precision = "bf16"
    half = learner(episode)
    assert {tensor.dtype for tensor in seen} == {torch.float32}
    assert half.logits.dtype == torch.float32
    assert 1e-5 < (half.logits - full).abs().max() < 0.5
    F.cross_entropy(half.logits, episode.query_y).backward()
    assert {p.grad.dtype for p in learner.parameters() if p.grad is not None} == {torch.float32}
