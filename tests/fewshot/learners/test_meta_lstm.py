"""Meta-LSTM against slow implementations written for this test: scalar loops, and torch's own layers."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fewshot.data.episodes import Episode
from fewshot.learners.meta_lstm import MetaLSTMLearner, MetaLSTMOptions, build
from fewshot.nets.conv4 import Conv4
from fewshot.optimizers import MetaLSTM
from fewshot.optimizers.observe import log_sign
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions

WAY, SHOT, QUERY, SIZE = 3, 2, 2, 16


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def slow_log_sign(x, p=10):
    if abs(x) >= math.exp(-p):
        return math.log(abs(x)) / p, math.copysign(1.0, x)
    return -1.0, math.exp(p) * x


def slow_row(core, features, gradient, weight, hidden):
    """One row, one step, in scalars: Ravi & Larochelle section 3.2. Returns (next weight, σ(i), next hidden)."""
    p = {name: value.tolist() for name, value in core.state_dict().items()}
    h, c, (f_before, i_before) = hidden
    size = len(h)
    pre = [
        p["lstm_bias"][j]
        + sum(features[k] * p["lstm_input"][k][j] for k in range(4))
        + sum(h[k] * p["lstm_hidden"][k][j] for k in range(size))
        for j in range(4 * size)
    ]
    take, keep, candidate, show = (pre[k * size : (k + 1) * size] for k in range(4))
    c = [sigmoid(keep[k]) * c[k] + sigmoid(take[k]) * math.tanh(candidate[k]) for k in range(size)]
    h = [sigmoid(show[k]) * math.tanh(c[k]) for k in range(size)]
    f, i = (
        sum(h[k] * p["gates_hidden"][k][gate] for k in range(size))
        + weight * p["gates_weight"][gate]
        + before * p["gates_previous"][gate]
        + p["gates_bias"][gate]
        for gate, before in ((0, f_before), (1, i_before))
    )
    return sigmoid(f) * weight - sigmoid(i) * gradient, sigmoid(i), (h, c, (f, i))


class SlowLearner(nn.Module):
    """The learner of ordinary torch layers, in the usual order: convolution, normalization, ReLU, pooling."""

    def __init__(self, momentum):
        super().__init__()
        blocks = []
        for block in range(4):
            blocks += [nn.Conv2d(1 if block == 0 else 2, 2, 3, padding=1), nn.BatchNorm2d(2, 1e-3, momentum)]
            blocks += [nn.ReLU(), nn.MaxPool2d(2)]
        self.net = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(2, WAY)).double()

    def load(self, flat):
        nn.utils.vector_to_parameters(torch.tensor(flat, dtype=torch.float64), self.net.parameters())


def slow_inner_loop(learner, episode, regularizer_radius):
    """Algorithm 1's inner loop: (query logits in evaluation, accumulated penalty, observations of every step)."""
    options, core = learner.options, learner.core
    slow = SlowLearner(options.norm_momentum)
    weights = learner.start.tolist()
    size = core.hidden_size
    hidden = [([0.0] * size, [0.0] * size, (0.0, 0.0))] * len(weights)
    penalty, count = 0.0, len(episode.support_y)
    observations = []
    for _ in range(options.inner_epochs):
        for first in range(0, count, options.batch_size):
            x = episode.support_x[first : first + options.batch_size]
            y = episode.support_y[first : first + options.batch_size]
            slow.load(weights)
            slow.train().zero_grad()
            loss = F.cross_entropy(slow.net(x), y)
            loss.backward()
            gradient = torch.cat([p.grad.flatten() for p in slow.parameters()])
            gradient = (gradient / (len(y) if options.gradient == "mean_over_batch" else 1)).tolist()
            observations.append((loss.item(), gradient))
            steps = [
                slow_row(core, (*slow_log_sign(loss.item()), *slow_log_sign(g)), g, w, h)
                for g, w, h in zip(gradient, weights, hidden, strict=True)
            ]
            penalty += sum((regularizer_radius * i) ** 2 for _, i, _ in steps) / len(steps)
            weights, hidden = [w for w, _, _ in steps], [h for _, _, h in steps]
    slow.load(weights)
    return slow.eval().net(episode.query_x), penalty, observations


def make_episode(seed=0, way=WAY, shot=SHOT, query=QUERY, size=SIZE):
    generator = torch.Generator().manual_seed(seed)

    def images(count):
        return torch.rand(count, 1, size, size, generator=generator, dtype=torch.float64)

    labels = torch.arange(way)
    nothing = np.zeros(0, dtype=np.int64)
    return Episode(
        images(way * shot), labels.repeat(shot), images(way * query), labels.repeat(query), nothing, nothing, nothing
    )


def make_learner(regularizer=None, seed=1, **options):
    options = MetaLSTMOptions(**{"inner_epochs": 2, "batch_size": 3, "filters": 2, "hidden_size": 3, **options})
    learner = build(1, SIZE, WAY, options, regularizer or Regularizer(), torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():  # gates away from their initial values, so that every term matters
        for name, parameter in learner.core.named_parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    return learner


@pytest.mark.parametrize("gradient", ["mean", "mean_over_batch"])
@pytest.mark.parametrize("batch_size", [3, 6])
def test_inner_loop_equals_a_slow_implementation(gradient, batch_size):
    learner = make_learner(Smoothness(SmoothOptions(radius=0.7)), gradient=gradient, batch_size=batch_size).eval()
    episode = make_episode()
    prediction = learner(episode)
    logits, penalty, _ = slow_inner_loop(learner, episode, 0.7)
    torch.testing.assert_close(prediction.logits, logits, rtol=1e-9, atol=1e-10)
    assert prediction.penalty.item() == pytest.approx(penalty, rel=1e-10)


def test_meta_gradients_are_first_order():
    """Central differences, with the losses and gradients that the optimizer observes held fixed."""
    learner = make_learner(Smoothness(SmoothOptions(radius=0.7)))
    episode = make_episode()
    observations = slow_inner_loop(learner, episode, 0.7)[2]

    def objective():
        weights, hidden = learner.start, tuple(h.double() for h in learner.core.init_hidden(len(learner.start)))
        penalty = 0.0
        for loss, gradient in observations:
            gradient = torch.tensor(gradient, dtype=torch.float64)
            features = torch.cat([log_sign(torch.tensor(loss).double()).expand(len(weights), 2), log_sign(gradient)], 1)
            update, hidden = learner.core(torch.cat([features, gradient[:, None], weights[:, None]], 1), hidden)
            weights = weights + update[:, 0]
            penalty = penalty + 0.49 * hidden[2][:, 1].sigmoid().square().mean()
        return F.cross_entropy(learner.net(weights, episode.query_x), episode.query_y) + penalty

    prediction = learner(episode)
    (F.cross_entropy(prediction.logits, episode.query_y) + prediction.penalty).backward()
    generator = torch.Generator().manual_seed(4)
    for parameter in learner.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for index in torch.randint(len(flat), (6,), generator=generator).tolist():
            values = []
            for offset in (1e-6, -1e-6):
                flat[index] += offset
                values.append(objective().item())
                flat[index] -= offset
            assert gradient[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_log_sign_equals_its_definition():
    values = [0.0, 1.0, -1.0, 1e-3, -2.5e-2, 1e-6, -1e-6, math.exp(-10), -math.exp(-10) * 1.0001, 1e20]
    expected = torch.tensor([slow_log_sign(v) for v in values], dtype=torch.float64)
    torch.testing.assert_close(log_sign(torch.tensor(values, dtype=torch.float64)), expected, rtol=1e-12, atol=1e-12)


def test_episodes_leave_nothing_behind():
    learner = make_learner().eval()
    first, second = make_episode(1), make_episode(2)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    alone = learner(second).logits
    learner(first)
    assert torch.equal(learner(second).logits, alone)
    assert all(torch.equal(learner.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_evaluation_is_inductive_and_training_transductive():
    learner = make_learner()
    episode = make_episode(query=4)
    changed = make_episode(query=4)
    changed.query_x[1:] = 1 - changed.query_x[1:]

    def moved():
        return (learner(episode).logits[0] - learner(changed).logits[0]).abs().max().item()

    learner.train()
    assert moved() > 1e-9
    learner.eval()
    assert moved() == 0
    assert not learner.transductive
    learner = make_learner(query_norm="batch").eval()
    assert learner.transductive
    assert moved() > 1e-9
    learner = make_learner(query_norm="running").train()
    assert moved() == 0


def test_untrained_gates_do_gradient_descent():
    """With f = 1 and i = σ(b) the optimizer is plain SGD with weight decay 0 and step size σ(b)."""
    core = MetaLSTM(torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.zero_()
        core.gates_bias.copy_(torch.tensor([40.0, -2.0]))
    state = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    update, _ = core(state, tuple(h.double() for h in core.init_hidden(50)))
    torch.testing.assert_close(update[:, 0], -sigmoid(-2.0) * state[:, 4], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [28, 84])
def test_parameter_counts_are_the_published_ones(size):
    """Ravi's learner has 32 901 weights at 84 pixels; the formula gives those of other sizes."""
    net = Conv4(3, size, 5)
    side = size // 16
    assert net.layout.total == 896 + 3 * 9248 + 4 * 64 + 5 * (32 * side * side + 1)
    assert size != 84 or net.layout.total == 32_901


def test_initial_parameters_follow_the_options():
    learner = build(1, 28, 5, MetaLSTMOptions(), Regularizer(), torch.Generator().manual_seed(0))
    core = learner.core
    assert isinstance(learner, MetaLSTMLearner)
    assert core.lstm_hidden.abs().max() <= 0.01
    assert 4 <= core.gates_bias[0] <= 5
    assert -5 <= core.gates_bias[1] <= -4
    assert core.lstm_hidden.std() > 0.004
