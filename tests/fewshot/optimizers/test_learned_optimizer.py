"""`fewshot.LearnedOptimizer` against the functional loop it stands for, and as torch optimizers are used."""

import copy
import io
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from optimizer_models import loss_of, make_model, set_gradients, take_steps, vector
from torch import nn

import fewshot
from fewshot.errors import InputError
from fewshot.optimizers import LEARNED, blocks, create
from fewshot.optimizers.optimizer_file import OptimizerCard, save_optimizer
from fewshot.regularizers import Spectral

STEPS = 5


STABILITY = {
    "rms": {"update_rms": 0.01},
    "nominal": {"nominal_rate": 0.01, "nominal_learned": True},
    "both": {"update_rms": 0.01, "nominal_rate": 0.01},
}
CORES = [*LEARNED, *(f"{name}, {tricks}" for name in LEARNED for tricks in STABILITY)]


def make_core(name):
    name, _, tricks = name.partition(", ")
    options = LEARNED[name].Options(**STABILITY.get(tricks, {}))
    return create(LEARNED[name], torch.Generator().manual_seed(1), options).requires_grad_(False)


@pytest.mark.parametrize("name", CORES)
def test_steps_are_those_of_the_functional_loop(name):
    core, model, reference = make_core(name), make_model(), make_model()
    moved = take_steps(model, fewshot.LearnedOptimizer(model.parameters(), core), range(STEPS))
    weights = nn.utils.parameters_to_vector(reference.parameters()).detach()
    sizes = torch.tensor([[p.numel() for p in reference.parameters()]])
    memory, hidden = core.features.init(weights), core.begin(sizes)
    for step in range(STEPS):
        nn.utils.vector_to_parameters(weights, reference.parameters())
        gradient = torch.autograd.grad(loss_of(reference, step), list(reference.parameters()))
        flat = torch.cat([g.reshape(-1) for g in gradient])
        state, memory = core.observe(flat, weights, memory, hidden)
        update, hidden = core(state, hidden)
        weights = weights + update[:, 0]
    torch.testing.assert_close(moved, weights, rtol=1e-5, atol=1e-6)
    assert (weights - vector(make_model())).abs().max() > 1e-5


@pytest.mark.parametrize("name", CORES)
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


@pytest.mark.parametrize("name", CORES)
def test_chunks_of_the_core_change_nothing(name, monkeypatch):
    whole, pieces = make_model(), make_model()
    expected = take_steps(whole, fewshot.LearnedOptimizer(whole.parameters(), make_core(name)), range(STEPS))
    monkeypatch.setattr(blocks, "CPU_BLOCK", 7)
    moved = take_steps(pieces, fewshot.LearnedOptimizer(pieces.parameters(), make_core(name)), range(STEPS))
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CORES)
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


def functional_steps(core, weights, gradients, memory=None, hidden=None):
    """The weights after each gradient, and the memory and hidden at the end."""
    memory = core.features.init(weights) if memory is None else memory
    sizes = torch.tensor([[p.numel() for p in make_model().parameters()]])
    sizes = sizes if sizes.sum() == len(weights) else torch.tensor([[len(weights)]])
    hidden = core.begin(sizes) if hidden is None else hidden
    found = [weights]
    for gradient in gradients:
        state, memory = core.observe(gradient, found[-1], memory, hidden)
        update, hidden = core(state, hidden)
        found.append(found[-1] + update[:, 0])
    return found[1:], memory, hidden


def flat_gradients(model, count):
    generator = torch.Generator().manual_seed(5)
    return [0.1 * torch.randn(vector(model).shape, generator=generator) for _ in range(count)]


def put_gradient(model, flat):
    sizes = [p.numel() for p in model.parameters()]
    for parameter, part in zip(model.parameters(), flat.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter).clone()


@pytest.mark.parametrize("name", ["simple", "dm", "rnnprop"])
def test_states_of_version_0_1_0_go_on(name):
    model, core = make_model(), make_core(name)
    gradients = flat_gradients(model, 6)
    expected, *_ = functional_steps(core, vector(model), gradients)
    old, memory, hidden = functional_steps(core, vector(model), gradients[:3])
    sizes = [p.numel() for p in model.parameters()]
    optimizer = fewshot.LearnedOptimizer(model.parameters(), core)
    nn.utils.vector_to_parameters(old[-1], model.parameters())
    parts = {
        "memory": list(zip(*(m.split(sizes) for m in memory), strict=True)) if memory else [()] * 4,
        "hidden": list(zip(*(h.T.split(sizes, dim=1) for h in hidden), strict=True)),
    }
    group = {"scale": 1.0, "core": optimizer.defaults["core"], "params": list(range(4))}
    state = {i: {kind: list(each[i]) for kind, each in parts.items()} for i in range(4)}
    optimizer.load_state_dict({"state": state, "param_groups": [group]})
    for gradient in gradients[3:]:
        put_gradient(model, gradient)
        optimizer.step()
    torch.testing.assert_close(vector(model), expected[-1], rtol=1e-6, atol=1e-7)
    optimizer.load_state_dict({"state": state, "param_groups": [{**group, "scale": 0.25}]})
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert "scale" not in optimizer.param_groups[0]


def test_pickles_of_version_0_1_0_go_on():
    model, core = make_model(), make_core("simple")
    sha256 = fewshot.LearnedOptimizer(model.parameters(), core).defaults["core"]
    parameters = list(model.parameters())
    states = {p: {"memory": [], "hidden": [torch.zeros(20, p.numel())]} for p in parameters}
    optimizer = fewshot.LearnedOptimizer.__new__(fewshot.LearnedOptimizer)
    optimizer.__setstate__(
        {
            "defaults": {"scale": 1.0, "core": sha256},
            "state": states,
            "param_groups": [{"params": parameters, "scale": 0.5, "core": sha256}],
            "core": core,
        }
    )
    assert optimizer.param_groups[0]["lr"] == 0.5
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
    other = make_model()
    expected = take_steps(other, fewshot.LearnedOptimizer(other.parameters(), core, lr=0.5), range(3))
    assert torch.equal(take_steps(model, optimizer, range(3)), expected)


@pytest.mark.parametrize("name", CORES)
def test_weight_decay_takes_a_share_of_the_weights_before_the_step(name):
    model, core = make_model(), make_core(name)
    (gradient,) = flat_gradients(model, 1)
    before = vector(model)
    (plain,), *_ = functional_steps(core, before, [gradient])
    put_gradient(model, gradient)
    fewshot.LearnedOptimizer(model.parameters(), core, lr=0.5, weight_decay=0.1).step()
    torch.testing.assert_close(vector(model), before * (1 - 0.5 * 0.1) + 0.5 * (plain - before), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("name", CORES)
def test_a_step_with_a_gradient_that_is_not_finite_is_skipped_and_counted(name, bad):
    model, core = make_model(), make_core(name)
    gradients = flat_gradients(model, 4)
    expected, *_ = functional_steps(core, vector(model), [gradients[0], gradients[2], gradients[3]])
    gradients[1][7] = bad
    optimizer = fewshot.LearnedOptimizer(model.parameters(), core)
    for gradient in gradients:
        put_gradient(model, gradient)
        optimizer.step()
    assert optimizer.skipped_steps == 1
    torch.testing.assert_close(vector(model), expected[-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["simple", "dm", "rnnprop"])
def test_weights_with_a_gradient_that_is_not_finite_can_be_left_out(name):
    """The others move as if these had no gradient: as a network without them."""
    model, core = make_model(), make_core(name)
    gradients, left_out = flat_gradients(model, 3), torch.zeros(len(vector(model)), dtype=torch.bool)
    left_out[[0, 7, 40]] = True
    kept, before = [g[~left_out] for g in gradients], vector(model)
    expected, *_ = functional_steps(core, before[~left_out], kept)
    optimizer = fewshot.LearnedOptimizer(model.parameters(), core, nonfinite="leave_out")
    for gradient in gradients:
        gradient[left_out] = torch.tensor([float("nan"), float("inf"), -float("inf")])
        put_gradient(model, gradient)
        optimizer.step()
    assert optimizer.skipped_steps == 0
    assert torch.equal(vector(model)[left_out], before[left_out])
    torch.testing.assert_close(vector(model)[~left_out], expected[-1], rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        (alone,), *_ = functional_steps(core, vector(model)[left_out], [torch.full((3,), 0.1)])
    put_gradient(model, torch.full_like(gradients[0], 0.1))  # they begin where they would have begun
    before = vector(model)
    optimizer.step()
    moved = (vector(model) - before)[left_out]
    if core.features.needs == "nothing":
        torch.testing.assert_close(moved, alone - before[left_out], rtol=1e-4, atol=1e-6)
    assert (moved != 0).all()


@pytest.mark.parametrize("name", ["dm", "rnnprop"])
def test_a_weight_begins_with_its_first_gradient_that_is_not_zero(name):
    model, core = make_model(), make_core(name)
    gradients = flat_gradients(model, 5)
    for gradient in gradients[:3]:
        gradient[:9] = 0
    optimizer, start = fewshot.LearnedOptimizer(model.parameters(), core), vector(model)
    for gradient in gradients:
        put_gradient(model, gradient)
        optimizer.step()
    late, *_ = functional_steps(core, start[:9], [g[:9] for g in gradients[3:]])
    others, *_ = functional_steps(core, start[9:], [g[9:] for g in gradients])
    torch.testing.assert_close(vector(model), torch.cat([late[-1], others[-1]]), rtol=1e-5, atol=1e-6)


def test_parameters_on_two_devices_step_as_on_one():
    class Elsewhere(nn.Parameter):
        device = property(lambda self: torch.device("cpu", 0))  # pyright: ignore[reportAssignmentType]

    model, other = make_model(), make_model()
    model[2].weight = Elsewhere(model[2].weight.detach())
    optimizer = fewshot.LearnedOptimizer(model.parameters(), make_core("simple"))
    moved = take_steps(model, optimizer, range(STEPS))
    expected = take_steps(other, fewshot.LearnedOptimizer(other.parameters(), make_core("simple")), range(STEPS))
    torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["simple", "dm", "rnnprop"])
def test_scale_free_features_make_steps_that_do_not_depend_on_the_scale_of_the_loss(name):
    core = LEARNED[name](torch.Generator().manual_seed(1), LEARNED[name].Options(scale_free=True))
    plain = LEARNED[name](torch.Generator().manual_seed(1))
    moves = {}
    for kind, each in (("free", core), ("plain", plain)):
        for scale in (1.0, 2.0**-20):
            model = make_model()
            gradients = [scale * g for g in flat_gradients(model, 4)]
            found, *_ = functional_steps(each, vector(model), gradients)
            optimizer, before = fewshot.LearnedOptimizer(model.parameters(), each), vector(model)
            for gradient in gradients:
                put_gradient(model, gradient)
                optimizer.step()
            torch.testing.assert_close(vector(model), found[-1], rtol=1e-5, atol=1e-6)
            moves[kind, scale] = vector(model) - before
    torch.testing.assert_close(moves["free", 1.0], moves["free", 2.0**-20], rtol=1e-4, atol=1e-6)
    assert (moves["plain", 1.0] - moves["plain", 2.0**-20]).abs().max() > 1e-4
    still = core.features(torch.zeros(5), torch.ones(5), core.features.init(torch.ones(5)))[0]
    assert still.isfinite().all()


@pytest.mark.parametrize("name", ["simple", "dm", "rnnprop"])
def test_the_default_of_a_later_option_is_no_part_of_a_configuration(name):
    from benchmarks.running.identity import plain_data

    @dataclass(frozen=True)
    class Config:
        core: object

    options = LEARNED[name].Options
    assert "scale_free" not in plain_data(Config(options()))["core"]
    assert plain_data(Config(options(scale_free=True)))["core"]["scale_free"] is True


def test_half_of_the_state_in_bfloat16():
    sizes = {}
    for dtype in (torch.float32, torch.bfloat16):
        model = make_model()
        optimizer = fewshot.LearnedOptimizer(model.parameters(), make_core("simple"), state_dtype=dtype)
        moved = take_steps(model, optimizer, range(STEPS))
        tensors = [t for state in optimizer.state.values() for t in state.values()]
        sizes[dtype] = sum(t.numel() * t.element_size() for t in tensors), moved
        twin, other = fewshot.LearnedOptimizer(model.parameters(), make_core("simple"), state_dtype=dtype), model
        twin.load_state_dict(optimizer.state_dict())
        assert twin.state[other[0].weight]["hidden_0_0"].dtype == dtype
    assert sizes[torch.bfloat16][0] * 2 == sizes[torch.float32][0]
    torch.testing.assert_close(sizes[torch.bfloat16][1], sizes[torch.float32][1], rtol=0.02, atol=0.02)
    assert not torch.equal(sizes[torch.bfloat16][1], sizes[torch.float32][1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": "0.5"}, "lr is '0.5'"),
        ({"lr": None}, "lr is None"),
        ({"lr": True}, "lr is True"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"scale": -1.0}, "-1.0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"maximize": 1}, "maximize is 1"),
        ({"nonfinite": "ignore"}, "skip, leave_out"),
        ({"state_dtype": torch.float16}, "torch.bfloat16"),
        ({"optimizer": None}, "name of a shipped learned optimizer"),
        ({"optimizer": nn.Linear(2, 2)}, "name of a shipped learned optimizer"),
        ({"params": "simple"}, r"model\.parameters"),
        ({"params": make_model()}, r"model\.parameters"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, words):
    arguments = {"params": make_model().parameters(), "optimizer": "simple", **options}
    with pytest.raises(InputError, match=words):
        fewshot.LearnedOptimizer(**arguments)


@pytest.mark.parametrize("key", ["momentum", "sclae", "betas", "foreach", "optimizer"])
def test_unknown_options_of_groups_are_refused(key):
    optimizer = fewshot.LearnedOptimizer(make_model().parameters(), "simple")
    with pytest.raises(InputError, match=key):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))], key: 0.9})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(TypeError, match="foreach"):
        fewshot.LearnedOptimizer(make_model().parameters(), "simple", foreach=True)


def test_options_of_groups_are_checked_again_in_a_step():
    model = make_model()
    optimizer, before = fewshot.LearnedOptimizer(model.parameters(), "simple"), vector(model)
    set_gradients(model.parameters())
    for key, value in (("lr", float("nan")), ("weight_decay", float("inf")), ("scale", 0.5)):
        group = dict(optimizer.param_groups[0])
        optimizer.param_groups[0][key] = value
        with pytest.raises(InputError, match=key):
            optimizer.step()
        optimizer.param_groups[0].clear()
        optimizer.param_groups[0].update(group)
    assert torch.equal(vector(model), before)


def test_groups_may_say_scale_as_in_version_0_1_0():
    model = make_model()
    optimizer = fewshot.LearnedOptimizer([{"params": model.parameters(), "scale": 0.5}], "simple")
    assert optimizer.param_groups[0]["lr"] == 0.5
    with pytest.raises(InputError, match="both lr and scale"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))], "lr": 1.0, "scale": 0.9})


def test_states_of_other_shapes_and_other_optimizers_are_refused():
    model, turned = nn.Linear(4, 3), nn.Linear(3, 4)
    optimizer = fewshot.LearnedOptimizer([model.weight], "simple")
    set_gradients([model.weight])
    optimizer.step()
    with pytest.raises(InputError, match="shape"):
        fewshot.LearnedOptimizer([turned.weight], "simple").load_state_dict(optimizer.state_dict())
    adam = torch.optim.Adam([model.weight])
    adam.step()
    other = fewshot.LearnedOptimizer([model.weight], "simple")
    with pytest.raises(InputError, match="not the state of a LearnedOptimizer"):
        other.load_state_dict(adam.state_dict())
    assert not other.state


def test_features_that_need_the_network_see_all_of_it():
    """An own kind of features, of which nothing is known, on several parameters."""

    class Ranks(type(make_core("simple").features)):
        needs = "network"

        def __call__(self, gradient, weights, memory):
            return gradient.argsort().argsort().div(len(gradient)).unsqueeze(-1), memory

    core, model = make_core("simple"), make_model()
    core.features = Ranks()
    gradients = flat_gradients(model, 3)
    expected, *_ = functional_steps(core, vector(model), gradients)
    optimizer = fewshot.LearnedOptimizer(model.parameters(), core)
    for gradient in gradients:
        put_gradient(model, gradient)
        optimizer.step()
    torch.testing.assert_close(vector(model), expected[-1], rtol=1e-5, atol=1e-6)
