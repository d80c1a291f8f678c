"""What every neural optimizer promises, checked for each one in the registry."""

import copy

import pytest
import torch
from optimizer_models import begin

from fewshot.optimizers import (
    LEARNED,
    CoordinatewiseOptimizer,
    L2OScale,
    MetaLSTM,
    Response,
    Simple,
    Step,
    SyntheticGradient,
    create,
)

ROWS = 7


def small(kind, **options):
    sizes = {"tensor_size": 2, "network_size": 2} if kind is L2OScale else {}
    return lambda generator: create(kind, generator, kind.Options(hidden_size=3, **sizes, **options))


NOMINAL = {"nominal_rate": 0.3, "nominal_learned": True}
CORES = {
    "meta_lstm": MetaLSTM,
    "synthetic_gradient": SyntheticGradient,
    **LEARNED,
    "l2o_scale": small(L2OScale),
    **{f"{name}, rms": small(kind, update_rms=0.2) for name, kind in LEARNED.items()},
    **{f"{name}, nominal": small(kind, **NOMINAL) for name, kind in LEARNED.items()},
    "simple, both": small(Simple, features="full", update_rms=0.2, **NOMINAL),
}


def make(name):
    core = CORES[name](torch.Generator().manual_seed(1)).double()
    with torch.no_grad():  # away from the special initial values
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return core


def take_steps(core, count, rows=ROWS, seed=3):
    generator = torch.Generator().manual_seed(seed)
    hidden = begin(core, rows)
    for _ in range(count):
        state = torch.randn(rows, core.state_size, generator=generator, dtype=torch.float64)
        step = Step(state, hidden, *core(state, hidden))
        hidden = step.next_hidden
    return step


@pytest.fixture(params=CORES)
def core(request):
    return make(request.param)


def test_shapes_are_rows_first_and_hidden_keeps_its_shapes(core):
    step = take_steps(core, 2)
    assert step.update.shape[0] == ROWS
    assert [h.shape for h in step.next_hidden] == [h.shape for h in core.init_hidden(ROWS)]


def test_named_columns_lie_in_the_state(core):
    for columns in core.columns.values():
        assert 0 <= columns.start < columns.stop <= core.state_size
    assert core.smooth_columns in {"all", *core.columns}


def test_rows_depend_on_each_other_only_where_the_core_says_so(core):
    together = take_steps(core, 1)
    if not core.independent_rows:
        alone = core(together.state[:-1], fewer(core, together.hidden))[0]
        assert (alone - together.update[:-1]).abs().max() > 1e-7
        return
    for row in range(ROWS):
        alone = core(together.state[row : row + 1], tuple(h[row : row + 1] for h in together.hidden))[0]
        torch.testing.assert_close(alone[0], together.update[row], rtol=1e-12, atol=1e-12)


def fewer(core, hidden):
    """Without the last row."""
    if not holds_statistics(core):
        return tuple(h[:-1] for h in hidden)
    of_rows = len(hidden) - core.tensor_parts - 1
    return *(h[:-1] for h in hidden[:of_rows]), *hidden[of_rows:-1], hidden[-1] - 1


def holds_statistics(core):
    """Whether responses hold what is computed over rows at those of their step."""
    return isinstance(core, CoordinatewiseOptimizer) and not core.independent_rows


def test_permuting_rows_permutes_updates(core):
    step, order = take_steps(core, 2), torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    permuted = core(step.state[order], tuple(h[order] if len(h) == ROWS else h for h in step.hidden))[0]
    torch.testing.assert_close(permuted, step.update[order], rtol=1e-12, atol=1e-12)


def test_groups_of_dependent_rows_do_not_see_each_other(core):
    """States [groups, rows, F] give what the groups give one by one, and so does what smoothness asks of them."""
    if core.independent_rows or holds_statistics(core):
        return
    states = torch.randn(3, ROWS, core.state_size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    update = core(states, ())[0]
    moved, pull = core.response(Step(states, (), update, ()), slice(0, core.state_size)).vjp(states + 0.1)
    pulled = pull(update)
    for group in range(3):
        alone = core(states[group], ())[0]
        torch.testing.assert_close(update[group], alone, rtol=1e-12, atol=1e-12)
        response = core.response(Step(states[group], (), alone, ()), slice(0, core.state_size))
        moved_alone, pull_alone = response.vjp(states[group] + 0.1)
        torch.testing.assert_close(moved[group], moved_alone, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(pulled[group], pull_alone(alone), rtol=1e-10, atol=1e-12)


def test_networks_side_by_side_do_not_see_each_other(core):
    """Their rows stand one after another, and lengths say which are whose; a learned optimizer of weights."""
    if not holds_statistics(core):
        return
    states = torch.randn(3, ROWS, core.state_size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    hidden = begin(core, lengths=torch.tensor([[4, 3]] * 3))
    first = core.step(states.flatten(0, 1), hidden)
    second = core.step(states.flatten(0, 1).flip(0), first.next_hidden)
    of_rows = len(hidden) - core.tensor_parts - 1
    for network in range(3):
        mine = slice(ROWS * network, ROWS * (network + 1))
        tensors = slice(2 * network, 2 * network + 2)
        own = [h[mine] for h in first.next_hidden[:of_rows]] + [h[tensors] for h in first.next_hidden[of_rows:-1]]
        alone = core(states.flatten(0, 1).flip(0)[mine], (*own, torch.tensor([[4, 3]])))[0]
        torch.testing.assert_close(alone, second.update[mine], rtol=1e-12, atol=1e-12)


def test_forward_is_pure(core):
    before = copy.deepcopy(core.state_dict())
    attributes = {k: v for k, v in vars(core).items() if not k.startswith("_")}
    global_state = torch.random.get_rng_state()
    step = take_steps(core, 2)
    inputs = step.state.clone(), [h.clone() for h in step.hidden]
    again = core(step.state, step.hidden)[0]
    assert torch.equal(again, step.update)
    assert torch.equal(step.state, inputs[0])
    assert all(torch.equal(h, old) for h, old in zip(step.hidden, inputs[1], strict=True))
    assert all(torch.equal(core.state_dict()[name], value) for name, value in before.items())
    assert attributes == {k: v for k, v in vars(core).items() if not k.startswith("_")}
    assert all(parameter.grad is None for parameter in core.parameters())
    assert torch.equal(torch.random.get_rng_state(), global_state)


def test_gradients_by_gradcheck(core):
    step = take_steps(core, 2, rows=3)
    names = [name for name, _ in core.named_parameters()]

    def two_steps(state, *parameters):
        weights = dict(zip(names, parameters, strict=True))
        update, hidden = torch.func.functional_call(core, weights, (state, step.hidden))
        return torch.func.functional_call(core, weights, (state + update.mean(), hidden))[0]

    leaves = [p.detach().clone().requires_grad_() for p in core.parameters()]
    detached = tuple(h.detach() for h in step.hidden)
    step = step._replace(hidden=detached)
    assert torch.autograd.gradcheck(two_steps, (step.state.clone().requires_grad_(), *leaves))


def parts(core):
    return ["all", *core.columns]


def test_response_is_the_update_as_a_function_of_the_columns(core):
    step = take_steps(core, 2)
    for name in parts(core):
        columns = core.column_slice(name)
        response = core.response(step, columns)
        torch.testing.assert_close(response(step.state[:, columns]), step.update, rtol=1e-12, atol=1e-12)
        if holds_statistics(core):
            continue
        moved = step.state.clone()
        moved[:, columns] += 0.7
        expected = core(moved, step.hidden)[0]
        torch.testing.assert_close(response(moved[:, columns]), expected, rtol=1e-12, atol=1e-12)


def test_response_pulls_back_the_derivative_of_the_update(core):
    step = take_steps(core, 2)
    for name in parts(core):
        columns = core.column_slice(name)
        leaf = (step.state[:, columns] + 0.1).detach().requires_grad_()
        state = torch.cat([step.state[:, : columns.start], leaf, step.state[:, columns.stop :]], dim=1)
        update = core.response(step, columns)(leaf) if holds_statistics(core) else core(state, step.hidden)[0]
        cotangent = torch.linspace(-1, 1, update.numel(), dtype=torch.float64).view_as(update)
        (expected,) = torch.autograd.grad(update, leaf, cotangent)
        moved, pull = core.response(step, columns).vjp(leaf.detach())
        pulled = pull(cotangent)
        torch.testing.assert_close(moved, update, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(pulled, expected, rtol=1e-10, atol=1e-12)
        assert not moved.requires_grad
        assert not pulled.requires_grad


def test_the_farther_update_is_that_of_two_whole_evaluations(core):
    """The same values and, through them and the step, the same gradients; with a graph or without."""
    if not core.independent_rows and not holds_statistics(core):
        pytest.skip("no row has ends of its own")
    step = take_steps(core, 3)
    for name in parts(core):
        columns = core.column_slice(name)
        low, high = step.state[:, columns] - 0.4, step.state[:, columns] + 0.5
        response, leaves = core.response(step, columns), list(core.parameters())
        found = response.farther(low, high, step.update.detach())
        move = core.response(step, columns) if holds_statistics(core) else None
        ends = [move(v) if move else core(step.moved_to(v, columns), step.hidden)[0] for v in (low, high)]
        ends = torch.stack(ends)
        gaps = (ends - step.update).square().sum(dim=-1)
        expected = torch.where((gaps[1] > gaps[0])[:, None], ends[1], ends[0])
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        slow = torch.autograd.grad(expected.sin().sum(), leaves, allow_unused=True, retain_graph=True)
        fast = torch.autograd.grad(found.sin().sum(), leaves, allow_unused=True, retain_graph=True)
        for mine, theirs in zip(fast, slow, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
        with torch.no_grad():
            torch.testing.assert_close(response.farther(low, high, step.update), found, rtol=1e-12, atol=1e-12)


def test_the_response_of_some_rows_is_theirs_among_all(core):
    step, rows = take_steps(core, 3), torch.tensor([5, 0, 3])
    for name in parts(core):
        columns = core.column_slice(name)
        response: Response = core.response(step, columns)
        if not response.divisible:
            continue
        assert core.independent_rows or holds_statistics(core)
        values = step.state[:, columns] + 0.3
        few = response.at(rows)
        torch.testing.assert_close(few(values[rows]), response(values)[rows], rtol=1e-12, atol=1e-12)
        moved, pull = few.vjp(values[rows])
        torch.testing.assert_close(moved, response(values)[rows], rtol=1e-12, atol=1e-12)
        whole = response.vjp(values)[1](torch.ones_like(step.update))
        torch.testing.assert_close(pull(torch.ones_like(moved)), whole[rows], rtol=1e-12, atol=1e-12)


def test_max_gap_is_the_maximum_over_a_grid(core):
    """Brute force: no corner or inner grid point of the ball is further away, and one is as far."""
    step = take_steps(core, 2)
    for name in parts(core):
        columns = core.column_slice(name)
        exact = core.max_gap(step, 0.5, columns)
        if exact is None:
            continue
        width = columns.stop - columns.start
        grid = torch.cartesian_prod(*[torch.linspace(-0.5, 0.5, 5, dtype=torch.float64)] * width).view(-1, width)
        response = core.response(step, columns)
        gaps = torch.stack([(response(step.state[:, columns] + g) - step.update).square().sum(1) for g in grid])
        torch.testing.assert_close(gaps.max(dim=0).values, exact, rtol=1e-10, atol=1e-14)


def test_diagnostics_are_scalars_without_a_graph(core):
    for value in core.diagnostics(take_steps(core, 1)).values():
        assert value.ndim == 0
        assert not value.requires_grad
