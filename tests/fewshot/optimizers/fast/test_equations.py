"""Whatever is written for speed equals its equation, derivative included: every core of the registry, every piece."""

import pytest
import torch

from fewshot.optimizers import DM, LEARNED, MetaLSTM, RNNprop, Simple, SyntheticGradient, create
from fewshot.optimizers.core import NeuralOptimizer
from fewshot.optimizers.fast.elementwise import add_product, tanh
from fewshot.optimizers.fast.gates import gates
from fewshot.optimizers.fast.meta_lstm import AffineInGradient
from fewshot.optimizers.fast.recurrent import RecurrentResponse
from fewshot.optimizers.fast.simple import ClosedForm, read
from fewshot.optimizers.fast.synthetic_gradient import ScoresResponse
from fewshot.optimizers.plain import ByEquation
from fewshot.regularizers import Smoothness, SmoothOptions, inner_step

ROWS, STEPS = 8, 3
CORES = {
    "meta_lstm": MetaLSTM,
    "synthetic_gradient": SyntheticGradient,
    **LEARNED,
    "simple_stable": lambda generator: create(
        Simple, generator, Simple.Options(update_rms=0.3, nominal_rate=0.1, nominal_learned=True)
    ),
    "simple_full": lambda generator: Simple(generator, Simple.Options(features="full")),
}
RESPONSES = {
    "meta_lstm": ("gradient", AffineInGradient),
    "synthetic_gradient": ("all", ScoresResponse),
    "simple": ("features", ClosedForm),
    "simple_full": ("moments", ClosedForm),
    "dm": ("features", RecurrentResponse),
    "rnnprop": ("features", RecurrentResponse),
}


def make(name):
    core = CORES[name](torch.Generator().manual_seed(1)).double()
    with torch.no_grad():  # away from the special initial values
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return core


def draw(*shape, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def unroll(core, of):
    """A few steps, a number that depends on all they give, and its gradients."""
    state = draw(STEPS, ROWS, of.state_size)
    hidden, total, updates = tuple(h.double() if h.is_floating_point() else h for h in core.init_hidden(ROWS)), 0.0, []
    for t in range(STEPS):
        update, hidden = core(state[t], hidden)
        updates.append(update)
        total = total + (draw(*update.shape, seed=t) * update).sum() + sum((h * h).sum() for h in hidden)
    return torch.stack(updates), torch.autograd.grad(total, list(of.parameters()))


@pytest.mark.parametrize("name", CORES)
def test_steps_and_their_gradients_are_those_of_the_equation(name):
    core = make(name)
    fast, plain = unroll(core, core), unroll(ByEquation(core), core)
    close(fast[0], plain[0])
    assert any(g.abs().max() > 0 for g in fast[1])
    for mine, theirs in zip(fast[1], plain[1], strict=True):
        close(mine, theirs)


def taken(core, of):
    """A step with memory, by the equation."""
    hidden = of.equation(
        draw(ROWS, of.state_size, seed=5),
        tuple(h.double() if h.is_floating_point() else h for h in of.init_hidden(ROWS)),
    )[1]
    return core.step(draw(ROWS, of.state_size), hidden)


@pytest.mark.parametrize("name", RESPONSES)
def test_responses_and_their_derivatives_are_those_of_the_equation(name):
    core, (part, kind) = make(name), RESPONSES[name]
    plain, columns = ByEquation(core), core.column_slice(part)
    fast_response = core.response(taken(core, core), columns)
    assert type(fast_response) is kind
    step = taken(plain, core)
    slow_response = NeuralOptimizer.response(plain, step, columns)
    values = step.state[:, columns] + 0.3 * draw(ROWS, columns.stop - columns.start, seed=7)
    (fast, pull), (slow, slow_pull) = fast_response.vjp(values), slow_response.vjp(values)
    close(fast, slow)
    cotangent = draw(*slow.shape, seed=8)
    close(pull(cotangent), slow_pull(cotangent))
    with torch.no_grad():
        close(fast_response(values), slow)
    weights = list(core.parameters())
    gradients = [
        torch.autograd.grad((cotangent * response(values)).sum(), weights, allow_unused=True)
        for response in (fast_response, slow_response)
    ]
    for weight, mine, theirs in zip(weights, *gradients, strict=True):
        close(*(torch.zeros_like(weight) if gradient is None else gradient for gradient in (mine, theirs)))


@pytest.mark.parametrize(
    ("name", "maximum"),
    [
        ("meta_lstm", "exact"),
        ("meta_lstm", "endpoints"),
        ("simple", "endpoints"),
        *((name, "pgd") for name in RESPONSES),
    ],
)
def test_smoothness_is_that_of_the_equation(name, maximum):
    core = make(name)
    results = []
    for each, chosen in ((core, maximum), (ByEquation(core), "endpoints" if maximum == "exact" else maximum)):
        options = SmoothOptions(radius=0.4, columns=RESPONSES[name][0], maximum=chosen)
        step = taken(each, core)
        _, penalty = inner_step(each, Smoothness(options), step.state, step.hidden)
        results.append((penalty, torch.autograd.grad(penalty, list(core.parameters()), allow_unused=True)))
    close(results[0][0], results[1][0])
    for weight, mine, theirs in zip(core.parameters(), results[0][1], results[1][1], strict=True):
        close(*(torch.zeros_like(weight) if gradient is None else gradient for gradient in (mine, theirs)))


def plain_gates(pre, c):
    take, keep, candidate, show = pre.chunk(4)
    c = keep.sigmoid() * c + take.sigmoid() * candidate.tanh()
    return show.sigmoid() * c.tanh(), c


@pytest.mark.parametrize(
    ("fast", "plain", "shapes"),
    [
        (tanh, torch.tanh, [(4, 6)]),
        (gates, plain_gates, [(12, 5), (3, 5)]),
        (
            read,
            lambda known, x, w, v: (v @ torch.tanh(known / 2 + w @ x), torch.tanh(known / 2 + w @ x)),
            [(4, 6), (2, 6), (4, 2), (1, 4)],
        ),
        (add_product, lambda known, w, x: known + w @ x, [(4, 6), (4, 1), (1, 6)]),
        (add_product, lambda known, w, x: known + w @ x, [(4, 6), (4, 3), (3, 6)]),
    ],
    ids=["tanh", "gates", "read", "one column", "three columns"],
)
def test_pieces_are_their_equations(fast, plain, shapes):
    arguments = [draw(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    mine, theirs = (f(*arguments) for f in (fast, plain))
    mine, theirs = (each if isinstance(each, tuple) else (each,) for each in (mine, theirs))
    for a, b in zip(mine, theirs, strict=True):
        close(a, b)
    assert torch.autograd.gradcheck(fast, arguments)
    for used in range(len(mine)):  # one output alone; the gradient of the others is None
        gradients = [
            torch.autograd.grad(each[used].square().sum(), arguments, allow_unused=True, retain_graph=True)
            for each in (mine, theirs)
        ]
        for argument, a, b in zip(arguments, *gradients, strict=True):
            close(*(torch.zeros_like(argument) if gradient is None else gradient for gradient in (a, b)))


def test_a_small_tanh_is_as_imprecise_as_it_says():
    x = torch.tensor([1e-1, 1e-5, 1e-8])
    error = (tanh(x).double() - torch.tanh(x.double())).abs()
    assert (error < 1.2e-7).all()
    relative = error / torch.tanh(x.double())
    assert relative[0] < 1e-5 < relative[1] < 2e-2
    assert relative[2] > 0.5


@pytest.mark.parametrize("kind", [Simple, DM, RNNprop])
def test_an_equation_alone_makes_an_optimizer(kind):
    """Whoever writes a core needs nothing of what is fast: its response is differentiated by autograd."""
    core = kind(torch.Generator().manual_seed(0))
    plain = ByEquation(core)
    step, penalty = inner_step(plain, Smoothness(SmoothOptions(maximum="pgd")), torch.ones(4, core.state_size),
                               core.init_hidden(4))  # fmt: skip
    assert step.update.shape == (4, 1)
    assert penalty > 0
