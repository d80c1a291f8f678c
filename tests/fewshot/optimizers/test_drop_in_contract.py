"""One table of behaviours of torch's optimizers: for every shipped learned optimizer, L2O-Scale, and Adam beside."""

import copy
import gc
import io
import pickle
import resource
import shutil

import pytest
import torch
from optimizer_models import loss_of, make_model, set_gradients, take_steps, vector
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import SWALR

import fewshot
from fewshot.optimizers import L2OScale
from fewshot.optimizers.optimizer_file import shipped

L2O_SCALE = L2OScale(torch.Generator().manual_seed(1))
MAKERS = {
    "adam": lambda parameters, **options: torch.optim.Adam(parameters, **{"lr": 0.01, **options}),
    **{
        name: lambda parameters, name=name, **options: fewshot.LearnedOptimizer(parameters, name, **options)
        for name in shipped()
    },
    "l2o_scale": lambda parameters, **options: fewshot.LearnedOptimizer(parameters, L2O_SCALE, **options),
}
SCHEDULES = {
    "LambdaLR": lambda o: schedules.LambdaLR(o, lambda step: 0.5**step),
    "MultiplicativeLR": lambda o: schedules.MultiplicativeLR(o, lambda step: 0.5),
    "StepLR": lambda o: schedules.StepLR(o, 1),
    "MultiStepLR": lambda o: schedules.MultiStepLR(o, [1]),
    "ConstantLR": lambda o: schedules.ConstantLR(o, 0.5, total_iters=2),
    "LinearLR": lambda o: schedules.LinearLR(o),
    "ExponentialLR": lambda o: schedules.ExponentialLR(o, 0.5),
    "CosineAnnealingLR": lambda o: schedules.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 3),
    "PolynomialLR": lambda o: schedules.PolynomialLR(o, 5),
    "CyclicLR": lambda o: schedules.CyclicLR(o, 0.1, 1.0),
    "OneCycleLR": lambda o: schedules.OneCycleLR(o, 0.5, 10),
    "SequentialLR": lambda o: schedules.SequentialLR(o, [schedules.ConstantLR(o), schedules.StepLR(o, 1)], [2]),
    "ChainedScheduler": lambda o: schedules.ChainedScheduler([schedules.ConstantLR(o), schedules.StepLR(o, 1)]),
    "SWALR": lambda o: SWALR(o, 0.5),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_change_the_rate_and_the_rate_changes_the_step(make, schedule):
    model, optimizer = make_model(), None
    optimizer = make(model.parameters())
    scheduler = SCHEDULES[schedule](optimizer)
    rates, moves = [], []
    for step in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        other, twin = copy.deepcopy((model, optimizer))
        twin.param_groups[0]["lr"] = 1.0
        before = vector(model)
        mine, at_one = take_steps(model, optimizer, [step]), take_steps(other, twin, [step])
        moves.append((mine - before, at_one - before))
        scheduler.step()
    assert len(set(rates)) > 1
    for rate, (mine, at_one) in zip(rates, moves, strict=True):
        torch.testing.assert_close(mine, rate * at_one, rtol=1e-4, atol=1e-6)


def test_a_plateau_lowers_the_rate(make):
    optimizer = make(make_model().parameters())
    scheduler, before = schedules.ReduceLROnPlateau(optimizer, patience=0), optimizer.param_groups[0]["lr"]
    for _ in range(3):
        scheduler.step(1.0)
    assert optimizer.param_groups[0]["lr"] < before


@pytest.mark.parametrize("rate", [0.0, torch.tensor(0.0)])
def test_weights_stand_still_at_a_rate_of_zero(make, rate):
    model = make_model()
    before = vector(model)
    assert torch.equal(take_steps(model, make(model.parameters(), lr=rate), range(3)), before)


def test_maximize_is_the_step_of_the_negative_loss(make):
    up, down = make_model(), make_model()
    optimizer, other = make([{"params": list(up.parameters()), "maximize": True}]), make(down.parameters())
    for step in range(3):
        for model, sign in ((up, 1), (down, -1)):
            model.zero_grad()
            (sign * loss_of(model, step)).backward()
        optimizer.step()
        other.step()
    assert torch.equal(vector(up), vector(down))


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "save", "state_dict"])
def test_copies_go_on_with_the_same_bits(make, way):
    model = make_model()
    optimizer = make(model.parameters())
    take_steps(model, optimizer, range(3))
    if way == "pickle":
        other, twin = pickle.loads(pickle.dumps((model, optimizer)))
    elif way == "deepcopy":
        other, twin = copy.deepcopy((model, optimizer))
    else:
        other, state = copy.deepcopy(model), copy.deepcopy(optimizer.state_dict())
        if way == "save":
            file = io.BytesIO()
            torch.save(state, file)
            state = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
        twin = make(other.parameters())
        twin.load_state_dict(state)
    assert torch.equal(take_steps(other, twin, range(3, 6)), take_steps(model, optimizer, range(3, 6)))


def test_the_size_of_a_pickle_is_that_of_the_state(make):
    wide = nn.ModuleList(nn.Linear(20, 20) for _ in range(8))
    optimizer = make(wide.parameters())
    set_gradients(wide.parameters())
    optimizer.step()
    tensors = [t for state in optimizer.state.values() for t in state.values()]
    size = sum(t.numel() * t.element_size() + 1000 for t in tensors) + sum(8 * p.numel() for p in wide.parameters())
    assert len(pickle.dumps(optimizer)) < size + 100_000
    assert len(pickle.dumps(optimizer.state_dict())) < size


def test_parameters_of_every_kind(make):
    matrix = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    kinds = {
        "scalar": torch.tensor(0.5),
        "empty": torch.zeros(0, 3),
        "transposed": matrix.clone().t(),
        "channels_last": torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(2)).to(
            memory_format=torch.channels_last
        ),
        "plain": matrix.clone(),
    }
    named = {name: nn.Parameter(value) for name, value in kinds.items()}
    same = {name: nn.Parameter(value.clone(memory_format=torch.contiguous_format)) for name, value in kinds.items()}
    optimizer, other = make(named.items()), make(list(same.values()))
    assert optimizer.param_groups[0]["param_names"] == list(kinds)
    for step in range(3):
        set_gradients(named.values(), step)
        set_gradients(same.values(), step)
        optimizer.step()
        other.step()
    for name, parameter in named.items():
        torch.testing.assert_close(parameter, same[name], rtol=0, atol=1e-7)
        assert all(t.shape == parameter.shape for t in optimizer.state[parameter].values() if t.numel() > 1)
    assert not torch.equal(named["transposed"], kinds["transposed"].t().new_zeros(6, 4))


def test_tied_parameters_move_once(make):
    tied, one = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    one.load_state_dict(tied.state_dict())
    pair = nn.Sequential(tied, tied)
    optimizer, other = make(pair.parameters()), make(one.parameters())
    set_gradients(tied.parameters())
    set_gradients(one.parameters())
    optimizer.step()
    other.step()
    assert torch.equal(tied.weight, one.weight)


def test_groups_can_be_added_and_layers_unfrozen_and_both_resumed(make):
    model = make_model()
    model[0].bias.requires_grad_(False)
    optimizer = make(list(model[0].parameters()))
    take_steps(model, optimizer, range(2))
    optimizer.add_param_group({"params": list(model[2].parameters()), "lr": 0.5})
    model[0].bias.requires_grad_(True)
    before = vector(model)
    moved = take_steps(model, optimizer, range(2, 4))
    assert ((moved - before) != 0).all()
    other = copy.deepcopy(model)
    twin = make([{"params": other[0].parameters()}, {"params": other[2].parameters(), "lr": 0.1}])
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert torch.equal(take_steps(other, twin, range(4, 6)), take_steps(model, optimizer, range(4, 6)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_types_are_kept(make, dtype):
    if make is MAKERS["adam"] and dtype == torch.float16:
        pytest.skip("Adam's squares are zero in float16")
    model = make_model(dtype)
    moved = take_steps(model, make(model.parameters()), range(4))
    reference = make_model()
    expected = take_steps(reference, make(reference.parameters()), range(4))
    assert moved.dtype == dtype
    tolerance = {torch.float64: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.02}[dtype]
    torch.testing.assert_close(moved.float(), expected, rtol=tolerance, atol=tolerance)


def test_closures_are_called_with_gradients_enabled(make):
    model = make_model()
    optimizer = make(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == pytest.approx(loss_of(make_model(), 0).item())


def test_hooks_of_steps_and_states_run(make):
    model, seen = make_model(), []
    optimizer = make(model.parameters())
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.register_state_dict_post_hook(lambda _, state: {**state, "extra": 1})
    take_steps(model, optimizer, range(1))
    state = optimizer.state_dict()
    assert seen == ["before", "after"]
    assert state["extra"] == 1
    twin = make(make_model().parameters())
    twin.register_load_state_dict_pre_hook(lambda _, state: state["wrapped"])
    twin.register_load_state_dict_post_hook(lambda o: [s.update(mark=1) for s in o.state.values()])
    twin.load_state_dict({"wrapped": state})
    assert all(s["mark"] == 1 for s in twin.state.values())
    take_steps(make_model(), twin, range(1))
    assert all(s["mark"] == 1 for s in twin.state.values())


def test_states_put_in_by_hand_count(make):
    model, other = make_model(), make_model()
    optimizer, twin = make(model.parameters()), make(other.parameters())
    take_steps(model, optimizer, range(2))
    take_steps(other, twin, range(5, 6))
    other.load_state_dict(model.state_dict())
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        twin.state[theirs] = copy.deepcopy(optimizer.state[mine])
    assert torch.equal(take_steps(other, twin, range(2, 4)), take_steps(model, optimizer, range(2, 4)))


def test_a_gradient_scaler_skips_what_overflows(make):
    model = make_model()
    optimizer, scaler = make(model.parameters()), torch.amp.GradScaler("cpu", init_scale=8.0)
    for step in range(3):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, step)).backward()
        if step == 1:
            before = vector(model)
            model[0].weight.grad[0, 0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
        if step == 1:
            assert torch.equal(vector(model), before)
    other = make_model()
    expected = take_steps(other, make(other.parameters()), [0, 2])
    torch.testing.assert_close(vector(model), expected, rtol=1e-5, atol=1e-6)


def test_autocast_does_not_change_the_step(make):
    model, other = make_model(), make_model()
    optimizer, twin = make(model.parameters()), make(other.parameters())
    for step in range(3):
        set_gradients(model.parameters(), step)
        set_gradients(other.parameters(), step)
        with torch.autocast("cpu", torch.bfloat16):
            optimizer.step()
        twin.step()
    assert torch.equal(vector(model), vector(other))


def test_the_default_device_and_type_do_not_matter(make):
    model, other = make_model(), make_model()
    with torch.device("meta"):
        optimizer = make(model.parameters())
    torch.set_default_dtype(torch.float64)
    try:
        moved = take_steps(model, optimizer, range(0))
        for step in range(2):
            set_gradients(model.parameters(), step)
            optimizer.step()
    finally:
        torch.set_default_dtype(torch.float32)
    twin = make(other.parameters())
    for step in range(2):
        set_gradients(other.parameters(), step)
        twin.step()
    assert torch.equal(vector(model), vector(other))
    assert not torch.equal(vector(model), moved)


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
def test_a_graph_through_the_gradient_is_no_obstacle(make):
    model, other = make_model(), make_model()
    optimizer = make(model.parameters())
    loss_of(model, 0).backward(create_graph=True)
    optimizer.step()
    expected = take_steps(other, make(other.parameters()), range(1))
    assert torch.equal(vector(model), expected)
    for parameter in model.parameters():
        parameter.grad = None


def test_saving_and_resuming_with_torchs_tools_moves_nothing(make):
    model = make_model()
    before, optimizer = vector(model), make(model.parameters())
    get_optimizer_state_dict(model, optimizer)
    assert torch.equal(vector(model), before)
    for options in (StateDictOptions(), StateDictOptions(flatten_optimizer_state_dict=True)):
        take_steps(model, optimizer, range(3))
        other = copy.deepcopy(model)
        twin, now = make(other.parameters()), vector(model)
        state = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
        set_optimizer_state_dict(other, twin, state, options=options)
        assert torch.equal(vector(other), now)
        assert torch.equal(take_steps(other, twin, range(3, 5)), take_steps(model, optimizer, range(3, 5)))


def test_rows_without_a_gradient_stand_still(make):
    embedding = nn.Embedding(6, 3, padding_idx=0)
    before, optimizer = embedding.weight.detach().clone(), make(embedding.parameters())
    for step in range(30):
        optimizer.zero_grad()
        rows = torch.tensor([0, 1, 2] if step < 20 else [0, 1, 3])
        (embedding(rows) - 1).square().sum().backward()
        optimizer.step()
    moved = (embedding.weight.detach() - before).abs().amax(dim=1)
    assert moved[[0, 4, 5]].max() == 0
    assert moved[[1, 2, 3]].min() > 0
    if make is MAKERS["l2o_scale"]:  # whose memory does not begin with zeros
        return
    others = {n: t for n, t in optimizer.state[embedding.weight].items() if t.shape == embedding.weight.shape}
    assert all((t[[0, 4, 5]] == 0).all() for t in others.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "simple", "rnnprop"])
def test_memory_does_not_grow(name):
    make = MAKERS[name]
    model = nn.Linear(5, 3)
    optimizer = make(model.parameters())
    set_gradients(model.parameters())
    for _ in range(500):
        optimizer.step()
    gc.collect()
    objects, before = len(gc.get_objects()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10_000):
        optimizer.step()
    gc.collect()
    assert len(gc.get_objects()) - objects < 50
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_step(make):
    model, other = make_model(), make_model()
    optimizer = make(model.parameters())
    compiled = torch.compile(lambda: optimizer.step())
    for step in range(3):
        set_gradients(model.parameters(), step)
        compiled()
    twin = make(other.parameters())
    for step in range(3):
        set_gradients(other.parameters(), step)
        twin.step()
    torch.testing.assert_close(vector(model), vector(other), rtol=1e-5, atol=1e-6)
