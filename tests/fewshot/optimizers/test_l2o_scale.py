"""L2O-Scale against a loop over tensors and weights that was written from the paper's equations alone."""

import math

import pytest
import torch
from optimizer_models import begin, draw, loss_of, make_model, perturbed, vector
from torch import nn

import fewshot
from fewshot.engine.unroll import Unroll, step_weights
from fewshot.general.stepping import LearnedStepper
from fewshot.general.tasks import Quadratic
from fewshot.optimizers import L2OScale, create
from fewshot.optimizers.l2o_scale import RATES
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions

LENGTHS = torch.tensor([[3, 1, 2], [3, 1, 2]])
SMALL = {"hidden_size": 2, "tensor_size": 3, "network_size": 2}


def make(**options):
    return perturbed(L2OScale(torch.Generator().manual_seed(1), L2OScale.Options(**options)))


def gru(cell, x, h, bias):
    """One vector at a time."""
    size = len(h)
    pre = cell.gates @ torch.cat([x, h]) + cell.gates_bias + bias[: 2 * size]
    r, u = torch.sigmoid(pre[:size]), torch.sigmoid(pre[size:])
    c = torch.tanh(cell.candidate @ torch.cat([x, r * h]) + cell.candidate_bias + bias[2 * size :])
    return u * h + (1 - u) * c


def affine(layer, x):
    return layer.weight @ x + layer.bias


class Slow:
    """One network."""

    def __init__(self, core, log_rates):
        """`log_rates` is a list for each tensor."""
        self.core = core
        own, tensor, network = core.starts
        self.h = [[own for _ in rates] for rates in log_rates]
        self.log_rate = [list(rates) for rates in log_rates]
        self.d, self.s = ([[torch.zeros(()).double() for _ in rates] for rates in log_rates] for _ in range(2))
        self.g, self.m = ([[[torch.zeros(()).double()] * 4 for _ in r] for r in log_rates] for _ in range(2))
        self.tensor, self.network = [tensor for _ in log_rates], network

    def step(self, gradients):
        """The update of each weight, a list a tensor; gradients likewise."""
        core, updates, inputs = self.core, [], []
        rates = [rate for tensor in self.log_rate for rate in tensor]
        mean_rate = sum(rates) / len(rates)
        for k, gradient in enumerate(gradients):
            first, rows = all(m == 0 for weight in self.m[k] for m in weight), []
            for i, g in enumerate(gradient):
                s = 0.0 if first else self.s[k][i]
                d = [self.d[k][i] ** (0.5**j) for j in range(4)]
                self.g[k][i] = [(1 - d[j]) * g + d[j] * self.g[k][i][j] for j in range(4)]
                self.m[k][i] = [(1 - s) * (self.g[k][i][j] ** 2 + 1e-12) + s * self.m[k][i][j] for j in range(4)]
                x = [torch.asinh(a / torch.sqrt(b + 1e-16)) for a, b in zip(self.g[k][i], self.m[k][i], strict=True)]
                logs = [torch.log(m + 1e-16) for m in self.m[k][i]]
                logs = [each - sum(logs) / 4 for each in logs]
                rows.append(
                    torch.stack([*x, x[0] * x[1], x[1] * x[2], x[2] * x[3], *logs, self.log_rate[k][i] - mean_rate])
                )
            inputs.append(rows)
        for k, rows in enumerate(inputs):
            bias = affine(core.tensor_to_weight, self.tensor[k]) + affine(core.network_to_weight, self.network)
            deltas, logs = [], []
            for i, x in enumerate(rows):
                h = self.h[k][i] = gru(core.weight_level, x, self.h[k][i], bias)
                deltas.append(core.direction[0] @ h + core.gradients[0] @ x[:4])
                logs.append((self.log_rate[k][i] + core.rate_change @ h + core.rate_bias[0]).clamp(-33, 33))
                self.s[k][i] = torch.sigmoid(affine(core.square_decay, h))[0]
                self.d[k][i] = torch.sigmoid(affine(core.decay, h))[0]
                inertia = torch.sigmoid(core.rate_inertia[0])
                self.log_rate[k][i] = inertia * self.log_rate[k][i] + (1 - inertia) * logs[-1]
            rms = torch.sqrt(sum(delta**2 for delta in deltas) / len(deltas) + 1e-16)
            updates.append(
                [-torch.exp(log + core.rate_offset[0]) * d / rms for log, d in zip(logs, deltas, strict=True)]
            )
        from_network = affine(core.network_to_tensor, self.network)
        for k, rows in enumerate(inputs):
            seen = sum(torch.cat([self.h[k][i], x]) for i, x in enumerate(rows)) / len(rows)
            self.tensor[k] = gru(core.tensor_level, seen, self.tensor[k], from_network)
        nothing = torch.zeros(3 * len(self.network)).double()
        self.network = gru(core.network_level, sum(self.tensor) / len(self.tensor), self.network, nothing)
        return updates


def run(core, gradients, lengths=LENGTHS):
    """The updates [steps, networks, P] of all networks at once, and the initial log rates."""
    hidden, memory = begin(core, lengths=lengths), core.features.init(gradients[0])
    rates, updates = hidden[1][:, 2].view(len(lengths), -1), []
    for gradient in gradients:
        state, memory = core.observe(gradient, gradient, memory, hidden)
        update, hidden = core(state.flatten(0, 1), hidden)
        updates.append(update.view_as(gradient))
    return torch.stack(updates), rates


def test_as_many_weights_as_the_authors_have():
    assert sum(p.numel() for p in L2OScale(torch.Generator().manual_seed(0)).parameters()) == 8349


def test_updates_and_their_gradients_are_those_of_the_loop():
    """Sizes of gradients differ by orders of magnitude from network to network and from weight to weight."""
    core = make()
    gradients = draw(4, 2, 6) * torch.tensor([[1.0], [1e-4]]) * torch.tensor([1, 100, 1e-3, 1, 0, 1])
    found, rates = run(core, gradients)
    expected = []
    for network in range(2):
        slow = Slow(core, [list(part) for part in rates[network].split([3, 1, 2])])
        for gradient in gradients[:, network]:
            parts = slow.step([list(part) for part in gradient.split([3, 1, 2])])
            expected.append(torch.stack([u for part in parts for u in part]))
    expected = torch.stack(expected).view(2, 4, 6).transpose(0, 1)
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)
    slopes = draw(4, 2, 6, seed=5)
    parameters = list(core.parameters())
    mine = torch.autograd.grad((slopes * found).sum(), parameters)
    theirs = torch.autograd.grad((slopes * expected).sum(), parameters)
    for (name, _), a, b in zip(core.named_parameters(), mine, theirs, strict=True):
        assert b.abs().max() > 0, name
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-13)


def test_gradients_of_a_few_steps_by_gradcheck():
    """What is observed included: decays of averages are outputs of the step before."""
    core, gradients = make(**SMALL), draw(3, 2, 6)

    def updates(*parameters):
        weights = dict(zip([f"core.{name}" for name, _ in core.named_parameters()], parameters, strict=True))
        return torch.func.functional_call(Whole(core), weights, (gradients,))

    assert torch.autograd.gradcheck(
        updates, [p.detach().clone().requires_grad_() for p in core.parameters()], fast_mode=True
    )


class Whole(nn.Module):
    def __init__(self, core):
        super().__init__()
        self.core = core

    def forward(self, gradients):
        return 100 * run(self.core, gradients)[0]


def test_initial_log_rates_are_draws_of_weight_and_tensor():
    hidden = L2OScale(torch.Generator().manual_seed(1)).begin(torch.tensor([[2000, 2000]]), seed=3)
    rates = hidden[1][:, 2].detach()
    assert rates.min() > 2 * RATES[0]
    assert rates.max() < 2 * RATES[1]
    width = RATES[1] - RATES[0]
    for part in rates.split(2000):  # of one tensor: one draw, plus one from U(a, b) for each weight
        assert part.std().item() == pytest.approx(width / math.sqrt(12), rel=0.05)
    assert (rates[:2000].mean() - rates[2000:].mean()).abs() > 0.1
    again = L2OScale(torch.Generator().manual_seed(1)).begin(torch.tensor([[2000, 2000]]), seed=4)
    assert not torch.equal(again[1][:, 2], rates)


@pytest.mark.parametrize("columns", ["default", "all"])
def test_smoothness_perturbs_the_inputs_of_weights_and_holds_what_is_computed_over_rows(columns):
    core, gradients = make(), draw(2, 2, 6)
    hidden, memory = begin(core, lengths=LENGTHS), core.features.init(gradients[0])
    state, memory = core.observe(gradients[0], gradients[0], memory, hidden)
    hidden = core(state.flatten(0, 1), hidden)[1]
    state = core.observe(gradients[1], gradients[1], memory, hidden)[0].flatten(0, 1)
    step = core.step(state, hidden)
    regularizer = Smoothness(SmoothOptions(radius=0.1, columns=columns))
    found = regularizer.per_row(core, step)
    alone = torch.zeros(12, dtype=torch.float64)
    with torch.no_grad():
        bias = core._spread(core.tensor_to_weight(hidden[2].T) + core.network_to_weight(hidden[3].T), LENGTHS)

        def outputs(x):
            read = core.read(x.T, hidden[0].T, hidden[1][:, 2], bias)
            return (read.log_rate + core.rate_offset).exp() * read.direction, read.direction

        here, directions = outputs(state)
        parts = directions.square().view(2, 6).split([3, 1, 2], dim=1)
        rms = torch.cat([p.mean(dim=1, keepdim=True).add(1e-16).sqrt().expand_as(p) for p in parts], dim=1).flatten()
        for corner in state + 0.1 * draw(400, 12, 12, seed=7).sign():
            alone = torch.maximum(alone, ((outputs(corner)[0] - here) / rms).square())
    assert (found > 0.9 * alone).all()  # no random corner is much farther than what PGD found
    assert (found < 3 * alone).all()
    for gradient in torch.autograd.grad(found.sum(), list(core.parameters()), allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"update_rms": 0.01}])
@pytest.mark.parametrize("cap", [math.inf, 1.5])
def test_unrolls_train_initial_states_and_take_the_steps_of_steppers(options, cap):
    kind = L2OScale.Options(**options)
    core = create(L2OScale, torch.Generator().manual_seed(1), kind).double()
    problems = [Quadratic(size=4, rows=12, dtype=torch.float64).problem("train", s, 8) for s in range(3)]
    smooth = Smoothness(SmoothOptions(radius=0.1, pgd_steps=2))
    unroll = Unroll(core, smooth, problems, 0, loss_cap=cap)
    unroll.truncation(step_weights("linear", 0, 5)).surrogate.backward()
    starts = getattr(core, "core", core).starts
    assert all(start.grad.abs().max() > 0 for start in starts)
    assert all(p.grad.isfinite().all() for p in core.parameters())
    unroll.truncation(step_weights("linear", 1, 5)).surrogate.backward()
    with torch.no_grad():
        unroll = Unroll(core, Regularizer(), problems, 0)
        weights = torch.stack([p.init() for p in problems])
        stepper = LearnedStepper(core, weights)
        stepper.hidden = [part.T.contiguous() for part in unroll.hidden]
        for step in range(3):
            gradient = unroll._losses(step)[1]
            weights = stepper.step(weights, gradient)
            unroll._advance(gradient)
            unroll.step += 1
            torch.testing.assert_close(weights, unroll.weights, rtol=1e-12, atol=1e-14)


def test_weights_that_are_left_out_count_nowhere():
    model, core = make_model(), make().float().requires_grad_(False)
    sizes = [p.numel() for p in model.parameters()]
    left_out = torch.zeros(sum(sizes), dtype=torch.bool)
    left_out[[0, 7, 40]] = True
    gradients = [0.1 * draw(sum(sizes), seed=s).float() for s in range(3)]
    whole = core.begin(torch.tensor([sizes]))
    kept = torch.tensor([[int((~part).sum()) for part in left_out.split(sizes)]])
    hidden = (*(part[~left_out] for part in whole[:2]), *whole[2:4], kept)
    weights, before = vector(model)[~left_out], vector(model)
    memory = core.features.init(weights)
    optimizer = fewshot.LearnedOptimizer(model.parameters(), core, nonfinite="leave_out")
    for gradient in gradients:
        state, memory = core.observe(gradient[~left_out], weights, memory, hidden)
        update, hidden = core(state, hidden)
        weights = weights + update[:, 0]
        gradient[left_out] = math.nan
        for parameter, part in zip(model.parameters(), gradient.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter).clone()
        optimizer.step()
    assert torch.equal(vector(model)[left_out], before[left_out])
    torch.testing.assert_close(vector(model)[~left_out], weights, rtol=1e-5, atol=1e-6)


def test_state_of_tensors_and_network_is_saved_and_needs_all_of_the_network():
    model = make_model()
    optimizer = fewshot.LearnedOptimizer(model.parameters(), make().float())
    loss_of(model, 0).backward()
    optimizer.step()
    state = optimizer.state[model[0].weight]
    of_rows = [name for name, value in state.items() if value.shape == model[0].weight.shape]
    assert len(of_rows) == 21 + 1  # and whether a weight has had a gradient
    numbers = [name for name, value in state.items() if not value.shape]
    assert len(numbers) == 40
    others = [optimizer.state[p] for p in model.parameters()]
    assert all(torch.equal(other["hidden_3_0"], state["hidden_3_0"]) for other in others)
    assert any(not torch.equal(other["hidden_2_0"], state["hidden_2_0"]) for other in others)


def test_memory_begins_with_what_is_learned_by_the_first_truncation():
    """As persistent evolution strategies need it, which move the core between."""
    core, problem = make(), Quadratic(size=4, rows=12, dtype=torch.float64).problem("train", 0, 8)
    early, unmoved = (Unroll(core, Regularizer(), [problem], 0) for _ in range(2))
    unmoved.truncation([1.0, 1.0])
    with torch.no_grad():
        core.starts[0].add_(1.0)
    late = Unroll(core, Regularizer(), [problem], 0)
    for unroll in (early, late):
        unroll.truncation([1.0, 1.0])
    assert torch.equal(early.weights, late.weights)
    assert not torch.equal(early.weights, unmoved.weights)
