"""`fewshot.LearnedOptimizer` against the functional loop it stands for, and as torch optimizers are used."""

import copy
import io
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

import fewshot
from fewshot.errors import InputError
from fewshot.optimizers import LEARNED, blocks
from fewshot.optimizers.optimizer_file import OptimizerCard, save_optimizer
from fewshot.regularizers import Spectral

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
    groups = [{"params": frozen[0].parameters(), "lr": 0.0}, {"params": frozen[2].parameters()}]
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
    assert all(state["hidden_0_3"].dtype == torch.float32 for state in optimizer.state.values())
    tolerance = 1e-4 if dtype == torch.float64 else 0.1
    reference = make_model()
    expected = take_steps(
        reference, fewshot.LearnedOptimizer(reference.parameters(), make_core("simple")), range(STEPS)
    )
    torch.testing.assert_close(moved.float(), expected, rtol=tolerance, atol=tolerance)


def test_bad_names_and_scales_are_refused():
    with pytest.raises(InputError, match="no_such"):
        fewshot.LearnedOptimizer(make_model().parameters(), "no_such")
    with pytest.raises(InputError, match="lr is -1"):
        fewshot.LearnedOptimizer(make_model().parameters(), make_core("simple"), lr=-1)


@pytest.mark.parametrize("name", LEARNED)
def test_chunks_of_the_core_change_nothing(name, monkeypatch):
    whole, pieces = make_model(), make_model()
    expected = take_steps(whole, fewshot.LearnedOptimizer(whole.parameters(), make_core(name)), range(STEPS))
    monkeypatch.setattr(blocks, "CPU_BLOCK", 7)
    moved = take_steps(pieces, fewshot.LearnedOptimizer(pieces.parameters(), make_core(name)), range(STEPS))
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LEARNED)
def test_the_memory_of_a_parameter_stands_still_while_it_has_no_gradient(name):
    model = make_model()
    optimizer = fewshot.LearnedOptimizer(model.parameters(), make_core(name))
    take_steps(model, optimizer, range(2))
    still, moving = (copy.deepcopy(optimizer.state[layer.weight]) for layer in (model[0], model[2]))
    for step in range(2, 4):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        model[0].weight.grad = None
        optimizer.step()
    now = optimizer.state[model[0].weight]
    assert all(torch.equal(still[key], now[key]) for key in still)
    assert not torch.equal(optimizer.state[model[2].weight]["hidden_0_0"], moving["hidden_0_0"])


def test_states_of_bfloat16_parameters_are_not_rounded_on_loading():
    model = make_model(torch.bfloat16)
    optimizer = fewshot.LearnedOptimizer(model.parameters(), make_core("rnnprop"))
    take_steps(model, optimizer, range(3))
    other = copy.deepcopy(model)
    continued = fewshot.LearnedOptimizer(other.parameters(), make_core("rnnprop"))
    continued.load_state_dict(optimizer.state_dict())
    hidden = continued.state[other[0].weight]["hidden_1_0"]
    assert torch.equal(hidden, optimizer.state[model[0].weight]["hidden_1_0"])
    assert not torch.equal(hidden, hidden.bfloat16().float())


def test_loading_does_not_tie_two_optimizers_together():
    model, other = make_model(), make_model()
    optimizer = fewshot.LearnedOptimizer(model.parameters(), make_core("simple"))
    take_steps(model, optimizer, range(2))
    before = optimizer.state[model[0].weight]["hidden_0_0"].clone()
    continued = fewshot.LearnedOptimizer(other.parameters(), make_core("simple"))
    continued.load_state_dict(optimizer.state_dict())
    take_steps(other, continued, range(2))
    assert torch.equal(optimizer.state[model[0].weight]["hidden_0_0"], before)


def test_copies_of_an_optimizer_work():
    model = make_model()
    optimizer = fewshot.LearnedOptimizer(model.parameters(), make_core("simple"))
    take_steps(model, optimizer, range(2))
    both = copy.deepcopy((model, optimizer))
    assert torch.equal(take_steps(*both, range(2, 4)), take_steps(model, optimizer, range(2, 4)))


def test_the_core_given_is_copied_and_may_be_reparametrized():
    core = Spectral().attach(LEARNED["dm"](torch.Generator().manual_seed(1)))
    model, reference = make_model(), make_model()
    plain = LEARNED["dm"](torch.Generator().manual_seed(2))
    plain.load_state_dict(core.effective_weights())
    optimizer = fewshot.LearnedOptimizer(model.parameters(), core)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.zero_()
    assert all(p.requires_grad for p in core.parameters())
    expected = take_steps(reference, fewshot.LearnedOptimizer(reference.parameters(), plain), range(STEPS))
    torch.testing.assert_close(take_steps(model, optimizer, range(STEPS)), expected)


def test_optimizers_come_from_files(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_optimizer(path, make_core("simple"), OptimizerCard("simple", "digits_mlp", "python -m …", 0))
    model, reference = make_model(), make_model()
    moved = take_steps(model, fewshot.LearnedOptimizer(model.parameters(), path), range(2))
    by_hand = fewshot.LearnedOptimizer(reference.parameters(), make_core("simple"))
    assert torch.equal(moved, take_steps(reference, by_hand, range(2)))


def test_what_it_cannot_optimize_is_refused():
    embedding = nn.Embedding(5, 2, sparse=True)
    optimizer = fewshot.LearnedOptimizer(embedding.parameters(), make_core("simple"))
    embedding(torch.tensor([1])).sum().backward()
    before = embedding.weight.detach().clone()
    with pytest.raises(InputError, match="gradient is sparse"):
        optimizer.step()
    assert torch.equal(embedding.weight, before)
    with pytest.raises(InputError, match="complex"):
        fewshot.LearnedOptimizer([nn.Parameter(torch.zeros(2, dtype=torch.complex64))], make_core("simple"))


def test_a_torchvision_model_in_both_memory_formats_with_clipping():
    from fewshot.vision import models

    losses = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = models.resnet18(num_classes=4, norm_layer=lambda n: nn.GroupNorm(1, n)).to(memory_format=memory_format)
        core = make_core("simple")
        with torch.no_grad():
            core.output.copy_(-0.005 * core.input.T)  # a descent direction
        optimizer = fewshot.LearnedOptimizer(model.parameters(), core, lr=0.2)
        x, y = torch.randn(4, 3, 32, 32), torch.arange(4)
        mine = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            mine.append(loss.item())
        losses.append(mine)
    assert losses[0][-1] < losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_model():
    plain = make_model()
    compiled = torch.compile(copy.deepcopy(plain))
    expected = take_steps(plain, fewshot.LearnedOptimizer(plain.parameters(), make_core("simple")), range(2))
    moved = take_steps(compiled, fewshot.LearnedOptimizer(compiled.parameters(), make_core("simple")), range(2))
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-6)


def test_importing_the_package_alone_does_not_import_torch():
    code = "import sys, fewshot; assert 'torch' not in sys.modules; fewshot.LearnedOptimizer"
    subprocess.run([sys.executable, "-c", code], check=True)
