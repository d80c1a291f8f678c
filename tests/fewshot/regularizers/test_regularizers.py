"""What every regularizer promises, over all pairs with the optimizers of the registries; then smoothness."""

import contextlib
import copy
from itertools import pairwise

import pytest
import torch

from fewshot.errors import InputError
from fewshot.optimizers import LEARNED, MetaLSTM, NeuralOptimizer, SyntheticGradient
from fewshot.regularizers import REGULARIZERS, Regularizer, Smoothness, SmoothOptions, inner_step
from fewshot.regularizers.penalty import core_penalty

ROWS = 9
CORES = {"meta_lstm": MetaLSTM, "synthetic_gradient": SyntheticGradient, **LEARNED}
PAIRS = [(core, regularizer) for core in CORES for regularizer in REGULARIZERS]


def make_core(name="meta_lstm"):
    core = CORES[name](torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return core


def take_step(core, regularizer=None, seed=3):
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(ROWS, core.state_size, generator=generator, dtype=torch.float64)
    hidden = tuple(h.double() if h.is_floating_point() else h for h in core.init_hidden(ROWS))
    hidden = core(state.flip(0), hidden)[1]
    return inner_step(core, regularizer or Regularizer(), state, hidden)


@pytest.mark.parametrize(("core_name", "name"), PAIRS)
def test_regularizers_are_pure_and_repeatable(core_name, name):
    core = make_core(core_name)
    regularizer = smoothness(maximum="pgd") if name == "smooth" else REGULARIZERS[name]()
    core = regularizer.attach(core)
    before = {k: v.clone() for k, v in core.state_dict().items()}
    global_state = torch.random.get_rng_state()
    penalties = []
    for _ in range(2):
        regularizer.reseed(5)
        _, penalty = take_step(core, regularizer)
        penalties.append(penalty + core_penalty(core, regularizer))
    assert penalties[0].shape == ()
    assert torch.equal(penalties[0], penalties[1])
    assert torch.equal(torch.random.get_rng_state(), global_state)
    assert all(p.grad is None for p in core.parameters())
    assert all(torch.equal(core.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize(("core_name", "name"), PAIRS)
def test_penalties_are_nonnegative_and_differentiable(core_name, name):
    regularizer = REGULARIZERS[name]()
    core = regularizer.attach(make_core(core_name))
    step, penalty = take_step(core, regularizer)
    total = penalty + core_penalty(core, regularizer) + 0 * step.update.sum()
    assert total >= 0
    gradients = torch.autograd.grad(total, list(core.parameters()), allow_unused=True)
    assert all(g is None or torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize(("core_name", "name"), PAIRS)
def test_per_step_penalty_is_zero_without_gradients(core_name, name):
    regularizer = REGULARIZERS[name]()
    core = regularizer.attach(make_core(core_name))
    with torch.no_grad():
        _, penalty = take_step(core, regularizer)
    assert penalty == 0
    assert not penalty.requires_grad


@pytest.mark.parametrize(("core_name", "name"), PAIRS)
def test_an_unroll_context_changes_no_update_and_no_gradient(core_name, name):
    """Two steps inside `core.unroll()` give the same numbers as two outside."""
    results = []
    for context in (contextlib.nullcontext, NeuralOptimizer.unroll):
        regularizer = REGULARIZERS[name]()
        core = regularizer.attach(make_core(core_name))
        with context(core):
            step, penalty = take_step(core, regularizer)
            total = penalty + core_penalty(core, regularizer) + step.update.square().sum()
        gradients = torch.autograd.grad(total, list(core.parameters()), allow_unused=True)
        results.append([total, *(g for g in gradients if g is not None)])
    for outside, inside in zip(*results, strict=True):
        torch.testing.assert_close(inside, outside, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("core_name", "name"), PAIRS)
def test_attached_cores_survive_copies_and_state_dicts(core_name, name):
    regularizer = REGULARIZERS[name]()
    core = regularizer.attach(make_core(core_name))
    update = take_step(core)[0].update
    twin = copy.deepcopy(core)
    other = REGULARIZERS[name]().attach(CORES[core_name](torch.Generator().manual_seed(9)).double())
    assert not torch.equal(take_step(other)[0].update, update)
    other.load_state_dict(core.state_dict())
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(-0.5)
    for same in (twin, other):
        assert torch.equal(take_step(same)[0].update, update)
    assert not torch.equal(take_step(core)[0].update, update)


def test_none_changes_nothing():
    core = make_core()
    assert Regularizer().attach(core) is core
    step, penalty = take_step(core)
    assert penalty == 0
    assert torch.equal(step.update, core(step.state, step.hidden)[0])


def smoothness(**options):
    return Smoothness(SmoothOptions(**options))


@pytest.mark.parametrize("radius", [0.0, 0.1, 1.0])
def test_closed_form_is_the_limit_of_pgd_and_of_a_grid(radius):
    core = make_core()
    step, _ = take_step(core)
    exact = smoothness(radius=radius).per_row(core, step)
    pgd = smoothness(radius=radius, maximum="pgd", pgd_steps=60).per_row(core, step)
    ends = smoothness(radius=radius, maximum="endpoints").per_row(core, step)
    grid = torch.stack([smallest_grid_gap(core, step, offset * radius) for offset in torch.linspace(-1, 1, 41)])
    torch.testing.assert_close(pgd, exact, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(ends, exact, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(grid.max(dim=0).values, exact, rtol=1e-6, atol=1e-14)


def smallest_grid_gap(core, step, offset):
    state = step.state.clone()
    state[:, core.columns["gradient"]] += offset
    return (core(state, step.hidden)[0] - step.update).square().sum(dim=1)


def test_closed_form_and_pgd_have_the_same_gradient():
    core = make_core()
    gradients = []
    for options in ({}, {"maximum": "pgd", "pgd_steps": 60}):
        _, penalty = take_step(core, smoothness(radius=0.3, **options))
        gradients.append(torch.autograd.grad(penalty, list(core.parameters())))
    for exact, pgd in zip(*gradients, strict=True):
        torch.testing.assert_close(pgd, exact, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("columns", ["default", "features", "weight", "all"])
@pytest.mark.parametrize("options", [{}, {"pgd_start": 30.0}, {"pgd_step_size": 7.0}])
def test_pgd_stays_in_the_ball_and_in_its_columns(columns, options):
    core = make_core()
    seen = []
    forward = core.forward

    def watch(state, hidden):
        seen.append(state.detach())
        return forward(state, hidden)

    step, _ = take_step(core)
    regularizer = smoothness(radius=0.2, maximum="pgd", columns=columns, **options)
    response = NeuralOptimizer.response  # the general route, so that every perturbed state is seen
    core.forward = watch
    core.response = lambda step, part: response(core, step, part)
    regularizer.per_row(core, step)
    chosen = core.column_slice(core.smooth_columns if columns == "default" else columns)
    assert len(seen) == regularizer.options.pgd_steps + 1
    for state in seen:
        moved = (state - step.state).abs()
        assert moved[:, chosen].max() <= 0.2 + 1e-12
        moved[:, chosen] = 0
        assert moved.max() == 0
    assert (seen[-1] - step.state).abs().max() > 0.19


@pytest.mark.parametrize("columns", ["features", "all", "weight"])
def test_pgd_finds_nearly_the_best_of_many_random_points(columns):
    core = make_core()
    step, _ = take_step(core)
    part = core.column_slice(columns)
    response = core.response(step, part)
    center = step.state[:, part]
    generator = torch.Generator().manual_seed(0)
    offsets = torch.rand(2000, *center.shape, generator=generator, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        best = torch.stack([(response(center + o) - step.update).square().sum(1) for o in offsets]).max(dim=0).values
    found = smoothness(radius=1.0, maximum="pgd", columns=columns, pgd_steps=40).per_row(core, step)
    assert (found >= 0.5 * best).float().mean() > 0.6


def test_pgd_is_never_better_than_the_exact_maximum():
    core = make_core()
    step, _ = take_step(core)
    exact = smoothness(radius=0.4).per_row(core, step)
    for seed in range(5):
        regularizer = smoothness(radius=0.4, maximum="pgd", pgd_steps=3)
        regularizer.reseed(seed)
        assert (regularizer.per_row(core, step) <= exact * (1 + 1e-12)).all()


def test_penalty_grows_with_the_radius_and_vanishes_with_it():
    core = make_core()
    penalties = [take_step(core, smoothness(radius=radius))[1] for radius in (0.0, 0.1, 0.2, 0.4)]
    assert penalties[0] == 0
    assert all(a < b for a, b in pairwise(penalties))


def test_reductions_differ_by_the_number_of_rows():
    core = make_core()
    mean, total = (take_step(core, smoothness(reduction=reduction))[1] for reduction in ("mean", "sum"))
    torch.testing.assert_close(total, ROWS * mean)


def test_the_noise_belongs_to_the_seed():
    core = make_core()
    step, _ = take_step(core)
    regularizer = smoothness(maximum="pgd", columns="features", pgd_steps=1, pgd_start=0.5)

    def gap(seed):
        regularizer.reseed(seed)
        return regularizer.per_row(core, step)

    assert torch.equal(gap(1), gap(1))
    assert not torch.equal(gap(1), gap(2))


class NoExactMaximum(MetaLSTM):
    def max_gap(self, step, radius, columns):
        return None


def test_auto_falls_back_to_pgd():
    core = NoExactMaximum(torch.Generator().manual_seed(1)).double()
    step, _ = take_step(core)
    auto = smoothness(maximum="auto").per_row(core, step)
    assert torch.equal(auto, smoothness(maximum="pgd").per_row(core, step))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maximum": "exact", "columns": "features"}, "knows no exact maximum"),
        ({"maximum": "endpoints", "columns": "features"}, "needs one perturbed column"),
        ({"columns": "momentum"}, "unknown penalty.columns 'momentum'; choose one of: default, all, features"),
    ],
)
def test_options_that_do_not_fit_the_core_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        smoothness(**options).attach(make_core())


@pytest.mark.parametrize(
    "options",
    [{"weight": -1.0}, {"radius": -0.1}, {"pgd_steps": 0}, {"weight": float("nan")}, {"radius": float("inf")}],
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        SmoothOptions(**options)
