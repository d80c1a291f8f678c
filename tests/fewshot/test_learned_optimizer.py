"""`fewshot.LearnedOptimizer` against the functional loop it stands for, and as torch optimizers are used."""

import copy
import io

import pytest
import torch
from torch import nn

import fewshot
from fewshot.errors import InputError
from fewshot.optimizers import LEARNED

STEPS = 5


def make_core(name):
    return LEARNED[name](torch.Generator().manual_seed(1)).requires_grad_(False)


def make_model(dtype=torch.float32):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def loss_of(model, step):
    generator = torch.Generator().manual_seed(100 + step)
    x, y = torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)
    dtype = next(model.parameters()).dtype
    return nn.functional.cross_entropy(model(x.to(dtype)).float(), y)


def take_steps(model, optimizer, steps):
    for step in steps:
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("name", LEARNED)
def test_steps_are_those_of_the_functional_loop(name):
    core, model, reference = make_core(name), make_model(), make_model()
    moved = take_steps(model, fewshot.LearnedOptimizer(model.parameters(), core), range(STEPS))
    weights = nn.utils.parameters_to_vector(reference.parameters()).detach()
    memory, hidden = core.features.init(weights), core.init_hidden(len(weights))
    for step in range(STEPS):
        nn.utils.vector_to_parameters(weights, reference.parameters())
        gradient = torch.autograd.grad(loss_of(reference, step), list(reference.parameters()))
        flat = torch.cat([g.reshape(-1) for g in gradient])
        state, memory = core.features(flat, weights, memory)
        update, hidden = core(state, hidden)
        weights = weights + update[:, 0]
    torch.testing.assert_close(moved, weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LEARNED)
def test_a_saved_state_continues_with_the_same_bits(name):
    core, model = make_core(name), make_model()
    optimizer = fewshot.LearnedOptimizer(model.parameters(), core)
    take_steps(model, optimizer, range(3))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(model)
    continued = fewshot.LearnedOptimizer(other.parameters(), core)
    continued.load_state_dict(torch.load(file, weights_only=True))
    expected = take_steps(model, optimizer, range(3, 6))
    assert torch.equal(take_steps(other, continued, range(3, 6)), expected)


def test_a_state_of_another_optimizer_is_refused():
    model = make_model()
    state = fewshot.LearnedOptimizer(model.parameters(), make_core("dm")).state_dict()
    with pytest.raises(InputError, match="another learned optimizer"):
        fewshot.LearnedOptimizer(model.parameters(), make_core("simple")).load_state_dict(state)


def test_groups_scale_their_steps():
    frozen, whole = make_model(), make_model()
    groups = [{"params": frozen[0].parameters(), "scale": 0.0}, {"params": frozen[2].parameters()}]
    before = frozen[0].weight.detach().clone()
    take_steps(frozen, fewshot.LearnedOptimizer(groups, make_core("simple")), range(1))
    take_steps(whole, fewshot.LearnedOptimizer(whole.parameters(), make_core("simple")), range(1))
    assert torch.equal(frozen[0].weight, before)
    torch.testing.assert_close(frozen[2].weight, whole[2].weight, rtol=1e-6, atol=1e-7)
    assert (frozen[2].weight - make_model()[2].weight).abs().max() > 0


def test_parameters_without_a_gradient_stay_and_closures_are_called():
    model = make_model()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    optimizer = fewshot.LearnedOptimizer(model.parameters(), make_core("simple"))

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return loss

    assert optimizer.step(closure).item() > 0
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_keep_a_float32_memory(dtype):
    model = make_model(dtype)
    optimizer = fewshot.LearnedOptimizer(model.parameters(), make_core("simple"))
    moved = take_steps(model, optimizer, range(STEPS))
    assert moved.dtype == dtype
    assert all(h.dtype == torch.float32 for state in optimizer.state.values() for h in state["hidden"])
    tolerance = 1e-4 if dtype == torch.float64 else 0.1
    reference = make_model()
    expected = take_steps(
        reference, fewshot.LearnedOptimizer(reference.parameters(), make_core("simple")), range(STEPS)
    )
    torch.testing.assert_close(moved.float(), expected, rtol=tolerance, atol=tolerance)


def test_bad_names_and_scales_are_refused():
    with pytest.raises(InputError, match="no_such"):
        fewshot.LearnedOptimizer(make_model().parameters(), "no_such")
    with pytest.raises(InputError, match="scale is -1"):
        fewshot.LearnedOptimizer(make_model().parameters(), make_core("simple"), scale=-1)
