"""The optimizers of network weights against torch's own cells and loops over rows; their features against loops."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from fewshot.engine.unroll import Unroll, step_weights
from fewshot.errors import InputError
from fewshot.general.tasks import open_task
from fewshot.optimizers import DM, LEARNED, Response, RNNprop, Simple
from fewshot.optimizers.fast.elementwise import tanh
from fewshot.optimizers.fast.recurrent import RecurrentResponse
from fewshot.optimizers.lstm import LSTMCell
from fewshot.optimizers.observe import FullState, GradientRMS, LogSign, NormalizedMoments
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions, inner_step

ROWS, STEPS = 6, 4


def make(kind, **options):
    core = kind(torch.Generator().manual_seed(1), kind.Options(**options)).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return core


def unroll(core, states):
    hidden = tuple(h.double() for h in core.init_hidden(states.shape[1]))
    updates = []
    for state in states:
        update, hidden = core(state, hidden)
        updates.append(update)
    return torch.stack(updates), hidden


def make_states(core, rows=ROWS, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(STEPS, rows, core.state_size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "options", "count"),
    [(Simple, {}, 440), (Simple, {"features": "full"}, 500), (DM, {}, 5141), (RNNprop, {}, 6641)],
)
def test_parameter_counts(kind, options, count):
    core = kind(torch.Generator().manual_seed(0), kind.Options(**options))
    assert sum(p.numel() for p in core.parameters()) == count


@pytest.mark.parametrize("features", ["gradient_rms", "full"])
def test_simple_is_torchs_rnn(features):
    core = make(Simple, features=features)
    rnn = nn.RNN(core.state_size, 20, bias=False).double()
    with torch.no_grad():
        rnn.weight_ih_l0.copy_(core.input)
        rnn.weight_hh_l0.copy_(core.recurrent)
    states = make_states(core)
    outputs, last = rnn(states)
    updates, (h,) = unroll(core, states)
    torch.testing.assert_close(updates, outputs @ core.output.T, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(h, last[0], rtol=1e-12, atol=1e-14)


def torch_lstm(cell, inputs):
    lstm = nn.LSTM(inputs, cell.size).double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(cell.input)
        lstm.weight_hh_l0.copy_(cell.recurrent)
        lstm.bias_ih_l0.copy_(cell.bias)
        lstm.bias_hh_l0.zero_()
    return lstm


@pytest.mark.parametrize("kind", [DM, RNNprop])
def test_two_layers_are_torchs_lstms(kind):
    core = make(kind)
    states = make_states(core)
    x = states
    if kind is RNNprop:
        x = nn.functional.elu(nn.functional.linear(states, core.input, core.input_bias))
    first, (h1, c1) = torch_lstm(core.first, x.shape[-1])(x)
    second, (h2, c2) = torch_lstm(core.second, 20)(first)
    output = nn.functional.linear(second, core.output, core.output_bias)
    expected = -0.1 * torch.tanh(output) if kind is RNNprop else 0.1 * output
    updates, hidden = unroll(core, states)
    torch.testing.assert_close(updates, expected, rtol=1e-11, atol=1e-13)
    for mine, theirs in zip(hidden, (h1, c1, h2, c2), strict=True):
        torch.testing.assert_close(mine, theirs[0], rtol=1e-11, atol=1e-13)


def test_an_lstm_layer_against_scalars():
    """One row, gate by gate, unit by unit."""
    cell = make(DM, hidden_size=3).first.requires_grad_(False)
    x, h, c = (torch.tensor(v, dtype=torch.float64) for v in ([0.3, -1.2], [0.1, -0.4, 0.9], [1.1, -0.2, 0.5]))
    next_h, next_c = cell(x[:, None], c[:, None], cell.known(h[:, None]))

    def sigmoid(z):
        return 1 / (1 + math.exp(-z))

    for unit in range(3):
        i, f, g, o = (
            sum(cell.input[gate * 3 + unit, k].item() * x[k].item() for k in range(2))
            + sum(cell.recurrent[gate * 3 + unit, k].item() * h[k].item() for k in range(3))
            + cell.bias[gate * 3 + unit].item()
            for gate in range(4)
        )
        memory = sigmoid(f) * c[unit].item() + sigmoid(i) * math.tanh(g)
        assert next_c[unit].item() == pytest.approx(memory, rel=1e-12)
        assert next_h[unit].item() == pytest.approx(sigmoid(o) * math.tanh(memory), rel=1e-12)


@pytest.mark.parametrize("used", [("h",), ("c",), ("h", "c")])
def test_the_derivative_of_an_lstm_layer_whichever_output_is_used(used):
    cell = LSTMCell(2, 3, torch.Generator().manual_seed(0)).double()
    generator = torch.Generator().manual_seed(1)
    x, h, c = (torch.randn(n, 5, generator=generator, dtype=torch.float64, requires_grad=True) for n in (2, 3, 3))

    def run(x, h, c):
        outputs = dict(zip(("h", "c"), cell(x, c, cell.known(h)), strict=True))
        return torch.stack([outputs[name].sin() for name in used]).sum(dim=0)  # gradcheck takes outputs one by one

    assert torch.autograd.gradcheck(run, (x, h, c))


def test_tanh_is_tanh_and_keeps_its_input():
    x = torch.linspace(-30, 30, 1001)
    before = x.clone()
    torch.testing.assert_close(tanh(x), torch.tanh(x), rtol=0, atol=3e-7)
    assert torch.equal(x, before)
    x = torch.linspace(-3, 3, 9, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(tanh(x), torch.tanh(x), rtol=1e-14, atol=1e-15)
    assert torch.autograd.gradcheck(tanh, (x,))


@pytest.mark.parametrize("name", LEARNED)
def test_initial_draws_belong_to_the_generator(name):
    kind = LEARNED[name]
    state = torch.random.get_rng_state()
    first, second, other = (dict(kind(torch.Generator().manual_seed(s)).named_parameters()) for s in (5, 5, 6))
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)
    assert torch.equal(torch.random.get_rng_state(), state)
    small = kind(torch.Generator().manual_seed(5), kind.Options(hidden_size=4))
    assert small.init_hidden(3)[0].shape == (3, 4)


def test_the_output_of_simple_starts_at_a_tenth_and_forget_biases_at_one():
    core = Simple(torch.Generator().manual_seed(0))
    assert core.output.abs().max() <= 0.1 / math.sqrt(20)
    assert core.input.abs().max() > 0.1 / math.sqrt(20)
    bias = DM(torch.Generator().manual_seed(0)).second.bias
    assert torch.equal(bias, torch.cat([torch.zeros(20), torch.ones(20), torch.zeros(40)]))


def all_updates(core, state):
    """Every route to the update for some states, by name."""
    hidden, column = core.init_hidden(len(state)), core.column_slice("features")
    step = core.step(state, hidden)
    response = core.response(step, column)
    update, pull = response.vjp(state)
    found = {"step": step.update, "equation": core.equation(state, hidden)[0], "response": update}
    found |= {"derivative": pull(torch.ones_like(update)), "farther": response.farther(state - 1, state + 1, update)}
    with torch.no_grad():
        found["advance_"] = core.advance_(state.T, [part.T.contiguous() for part in hidden])
        native = core.float().native_step()
        if native is not None:
            found["native"] = native(state.T.float().contiguous(), [part.T.float().contiguous() for part in hidden])
    return found


@pytest.mark.parametrize("features", ["gradient_rms", "full"])
def test_a_fixed_multiplier_is_the_same_function_at_the_start_and_calmer(features):
    plain, calm = (
        Simple(torch.Generator().manual_seed(1), Simple.Options(features=features, output_multiplier=c))
        for c in (1.0, 0.125)
    )
    assert torch.equal(plain.output, 0.125 * calm.output)
    state = make_states(plain)[0]
    moves = []
    for core in (plain, calm):
        before = core(state.float(), core.init_hidden(ROWS))[0]
        (slope,) = torch.autograd.grad(before.sum(), core.output)
        with torch.no_grad():
            core.output -= 1e-3 * slope.sign()
            moves.append((before - core(state.float(), core.init_hidden(ROWS))[0]).mean().item())
            core.output += 1e-3 * slope.sign()
    assert moves[1] == pytest.approx(0.125 * moves[0], rel=1e-2)
    expected, found = (all_updates(core.double(), state) for core in (plain, calm))
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, msg=name)


def test_published_variants_of_dm():
    state = torch.tensor([[0.5, 1.0]])
    paper, released = (
        DM(torch.Generator().manual_seed(0), DM.Options(p=p, output_scale=s)) for p, s in ((10.0, 0.1), (5.0, 0.01))
    )
    updates = [core(state, core.init_hidden(1))[0] for core in (paper, released)]
    torch.testing.assert_close(updates[0], 10 * updates[1])
    gradient = torch.tensor([math.exp(-7.5), -2.0])
    expected = {10.0: [[-0.75, 1], [math.log(2) / 10, -1]], 5.0: [[-1, math.exp(-2.5)], [math.log(2) / 5, -1]]}
    for core, p in ((paper, 10.0), (released, 5.0)):
        found, memory = core.features(gradient, torch.zeros(2), ())
        torch.testing.assert_close(found, torch.tensor(expected[p], dtype=torch.float32))
        assert memory == ()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Simple, {"hidden_size": 0}, "hidden_size is 0"),
        (Simple, {"features": "rms"}, "unknown features 'rms'; choose one of: gradient_rms, full"),
        (Simple, {"first_decay": 1.0}, "first_decay is 1.0"),
        (Simple, {"output_multiplier": 0.0}, "output_multiplier is 0.0"),
        (DM, {"p": 0.0}, "p is 0.0"),
        (DM, {"output_scale": float("nan")}, "output_scale is nan"),
        (RNNprop, {"decay": -0.1}, "decay is -0.1"),
        (RNNprop, {"hidden_size": 2.5}, "whole number"),
    ],
)
def test_options_out_of_range_are_refused(kind, options, message):
    with pytest.raises(InputError, match=message):
        kind.Options(**options)


FEATURES = {
    "gradient_rms": GradientRMS(),
    "full": FullState(0.8, 0.95),
    "log_sign": LogSign(5.0),
    "moments": NormalizedMoments(0.9),
}


def observe(features, gradients, weights):
    memory = features.init(weights)
    states = []
    for gradient in gradients:
        state, memory = features(gradient, weights, memory)
        states.append(state)
    return torch.stack(states)


def slow_features(name, gradients, weights):
    """Weight by weight: [steps, P, F] of one network."""
    rows = []
    for t, gradient in enumerate(gradients):
        rms = math.sqrt(sum(g.item() ** 2 for g in gradient) / len(weights) + 1e-5)
        rows += [slow_row(name, [g[i].item() for g in gradients[: t + 1]], w, rms) for i, w in enumerate(weights)]
    return torch.tensor(rows, dtype=torch.float64).view(len(gradients), len(weights), -1)


def slow_row(name, past, weight, rms):
    """From the sums that define the features of a weight with these gradients so far."""

    def average(values, decay):
        share = [decay ** (len(values) - 1 - k) for k in range(len(values))]
        return sum(s * v for s, v in zip(share, values, strict=True)) / sum(share)

    g, squares = past[-1], [g * g for g in past]
    if name == "gradient_rms":
        return [g / rms]
    if name == "full":
        return [weight.item(), g / rms, average(past, 0.8) / rms, math.sqrt(average(squares, 0.95)) / rms]
    if name == "moments":
        return [v / (math.sqrt(average(squares, 0.9)) + 1e-8) for v in (g, average(past, 0.9))]
    return [math.log(abs(g)) / 5, math.copysign(1, g)] if abs(g) >= math.exp(-5) else [-1, math.exp(5) * g]


@pytest.mark.parametrize("name", FEATURES)
def test_features_are_those_of_a_loop_and_of_each_network_alone(name):
    features = FEATURES[name]
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    scale = torch.tensor([1.0, 1e-3, 100.0], dtype=torch.float64)[:, None]  # networks with gradients of other sizes
    gradients = scale * torch.randn(STEPS, 3, 5, generator=generator, dtype=torch.float64)
    together = observe(features, gradients, weights)
    assert together.shape == (STEPS, 3, 5, features.size)
    for network in range(3):
        alone = observe(features, gradients[:, network], weights[network])
        assert torch.equal(alone, together[:, network])
        slow = slow_features(name, gradients[:, network], weights[network])
        torch.testing.assert_close(alone, slow, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FEATURES)
def test_features_are_pure_and_finite_where_all_gradients_vanish(name):
    features, weights = FEATURES[name], torch.zeros(4)
    memory = features.init(weights)
    copies = [m.clone() for m in memory]
    state, following = features(torch.zeros(4), weights, memory)
    assert torch.isfinite(state).all()
    assert all(torch.equal(m, c) for m, c in zip(memory, copies, strict=True))
    assert [m.shape for m in following] == [m.shape for m in memory]


def test_only_the_weights_column_carries_a_graph():
    weights = torch.ones(4, requires_grad=True)
    state, memory = FullState()(torch.ones(4), weights, FullState().init(weights))
    assert torch.autograd.grad(state.sum(), weights)[0].tolist() == [1.0] * 4
    assert not any(m.requires_grad for m in memory)


@pytest.fixture(scope="module")
def trained():
    """A `simple` after 100 updates on digits: it has learned something, and its weights are far from their start."""
    task = open_task("digits_mlp", Path("data"), torch.device("cpu"))
    core = Simple(torch.Generator().manual_seed(4))
    adam = torch.optim.Adam(core.parameters(), 1e-2)
    losses = []
    for i in range(20):
        run = Unroll(core, Regularizer(), [task.problem("train", i, 64)], i)
        for k in range(5):
            found = run.truncation(step_weights("linear", k, 10))
            adam.zero_grad()
            found.surrogate.backward()
            torch.nn.utils.clip_grad_norm_(core.parameters(), 1.0)
            adam.step()
        losses.append(found.loss[-1].item())
    assert losses[-1] < 0.5 * losses[0]
    assert (core.input - Simple(torch.Generator().manual_seed(4)).input).abs().max() > 0.1
    return core.double()


@pytest.mark.parametrize("radius", [0.1, 1.0])
@pytest.mark.parametrize("scale", ["trained", 1.0, 3.0])
def test_pgd_is_at_most_the_endpoints_and_those_are_at_most_a_fine_grid(radius, scale, request):
    """In the middle of an unroll: at trained weights, at initial ones and at such enlarged."""
    if scale == "trained":
        core = request.getfixturevalue("trained")
    else:
        core = Simple(torch.Generator().manual_seed(4)).double()
        with torch.no_grad():
            core.input.mul_(scale)
            core.recurrent.mul_(1.5)
    states = make_states(core, rows=500, seed=7)
    hidden = unroll(core, states)[1]
    gaps = {}
    for maximum in ("pgd", "endpoints"):
        regularizer = Smoothness(SmoothOptions(maximum=maximum, radius=radius))
        step, _ = inner_step(core, regularizer, states[-1], hidden)
        gaps[maximum] = regularizer.per_row(core, step)
    with torch.no_grad():
        offsets = torch.linspace(-radius, radius, 401, dtype=torch.float64)
        grid = torch.stack([(core(states[-1] + o, hidden)[0] - step.update).square()[:, 0] for o in offsets])
    finest = grid.max(dim=0).values
    total = {name: gap.sum().item() for name, gap in {**gaps, "grid": finest}.items()}
    assert (gaps["endpoints"] <= finest * (1 + 1e-9)).all()
    assert (gaps["pgd"] <= finest * (1 + 1e-2) + 1e-12).all()  # the grid may miss the very maximum
    assert 0.5 * total["grid"] < total["pgd"] <= total["endpoints"] * (1 + 1e-9)
    assert total["endpoints"] > 0.98 * total["grid"]


def test_pgd_leaves_out_rows_that_have_come_to_rest_and_finds_the_same(monkeypatch):
    core = make(DM)
    with torch.no_grad():  # so that some rows never come to rest
        for parameter in core.parameters():
            parameter.mul_(1.6)
    states = make_states(core, rows=200, seed=7)
    hidden = unroll(core, states)[1]
    regularizer = Smoothness(SmoothOptions(maximum="pgd", radius=1.0, pgd_steps=9))
    step, gaps, evaluated = core.step(states[-1], hidden), [], []
    respond = core.response

    def counted(of_step, columns):
        response = respond(of_step, columns)
        vjp = response.vjp
        response.vjp = lambda values: (evaluated.append(len(values)), vjp(values))[1]
        return response

    core.response = counted
    for divisible in (True, False):
        monkeypatch.setattr(RecurrentResponse, "divisible", divisible)
        regularizer.reseed(0)
        gaps.append(regularizer.per_row(core, step))
    torch.testing.assert_close(*gaps, rtol=1e-10, atol=1e-14)
    fewer, all_rows = evaluated[:-9], evaluated[-9:]
    assert all_rows == [200] * 9
    assert any(0 < rows < 100 for rows in fewer), fewer


class Watched(Response):
    """Keeps the values at which a response is evaluated with a graph."""

    def __init__(self, inner, seen):
        super().__init__(lambda values: (seen.append(values), inner(values))[1])
        self.vjp = inner.vjp


@pytest.mark.parametrize(
    ("features", "columns"),
    [("gradient_rms", "default"), ("full", "default"), ("full", "gradient"), ("full", "moments")],
)
def test_the_gradient_of_smoothness_is_that_of_its_definition(features, columns):
    """Through the closed form and the shared recurrent part, against two whole evaluations with the same s'."""
    core = make(Simple, features=features)
    regularizer = Smoothness(SmoothOptions(maximum="pgd", columns=columns, radius=0.3))
    states = make_states(core)
    hidden = tuple(h.detach().requires_grad_() for h in unroll(core, states)[1])
    seen = []
    response = core.response
    core.response = lambda step, part: Watched(response(step, part), seen)
    penalty = inner_step(core, regularizer, states[-1], hidden)[1]
    leaves = [*core.parameters(), *hidden]
    actual = torch.autograd.grad(penalty, leaves)
    moved = states[-1].clone()
    moved[:, core.column_slice(core.smooth_columns if columns == "default" else columns)] = seen[-1]
    definition = (core(moved, hidden)[0] - core(states[-1], hidden)[0]).square().sum(dim=1).mean()
    torch.testing.assert_close(penalty, definition, rtol=1e-10, atol=1e-14)
    for mine, theirs in zip(actual, torch.autograd.grad(definition, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)
