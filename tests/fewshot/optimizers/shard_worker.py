"""One of two processes that train one model with a learned optimizer, in the ways that torch divides it among them."""

import copy
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from optimizer_models import loss_of, make_model, take_steps, vector
from torch import nn
from torch.distributed.algorithms.join import Join
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import fewshot
from fewshot.errors import InputError
from fewshot.optimizers import LEARNED

STEPS = 4
CPU = torch.device("cpu")


def whole(model):
    """All weights, in one vector."""
    parameters = [p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()]
    return nn.utils.parameters_to_vector(parameters).detach().clone()


def fsdp1(model):
    return FullyShardedDataParallel(model, use_orig_params=True, device_id=CPU)


def flat(model):
    with FullyShardedDataParallel.summon_full_params(model):
        return vector(model)


def ddp(name):
    model = nn.parallel.DistributedDataParallel(make_model())
    return take_steps(model, fewshot.LearnedOptimizer(model.parameters(), name), range(STEPS))


def ddp_with_join(name):
    model = nn.parallel.DistributedDataParallel(make_model())
    optimizer = fewshot.LearnedOptimizer(model.parameters(), name)
    with Join([model], divide_by_initial_world_size=False):
        for step in range(STEPS if dist.get_rank() == 0 else STEPS - 1):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
    return vector(model) if dist.get_rank() == 0 else None


def zero(name):
    model = make_model()
    optimizer = ZeroRedundancyOptimizer(model.parameters(), fewshot.LearnedOptimizer, optimizer=name)
    moved = take_steps(model, optimizer, range(STEPS - 1))
    optimizer.consolidate_state_dict()
    if dist.get_rank() == 0:
        assert len(optimizer.state_dict()["state"]) == 4
    moved = take_steps(model, optimizer, range(STEPS - 1, STEPS))
    return moved


def fsdp1_with_a_group(name):
    model = fsdp1(make_model())
    optimizer = fewshot.LearnedOptimizer(model.parameters(), name, process_group=dist.group.WORLD)
    steps(model, optimizer, range(STEPS))
    # what it gathers on a CPU is wrong, Adam's too: all states of a parameter come out as the last
    states = FullyShardedDataParallel.optim_state_dict(model, optimizer)["state"]
    shapes = {name: parameter.shape for name, parameter in make_model().named_parameters()}
    assert {name: state["hidden_0_0"].shape for name, state in states.items()} == shapes, states
    return flat(model)


def steps(model, optimizer, which):
    for step in which:
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


def fsdp2(name, placements=(2,)):
    model = make_model()
    fully_shard(
        model, mesh=init_device_mesh("cpu", placements, mesh_dim_names=("copies", "shards")[-len(placements) :])
    )
    optimizer = fewshot.LearnedOptimizer(model.parameters(), name)
    steps(model, optimizer, range(2))
    for options in (StateDictOptions(), StateDictOptions(full_state_dict=True)):
        state = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
        optimizer = fewshot.LearnedOptimizer(model.parameters(), name)
        model.zero_grad()
        set_optimizer_state_dict(model, optimizer, state, options=options)
    steps(model, optimizer, range(2, STEPS))
    return whole(model)


def fsdp2_with_replicas(name):
    return fsdp2(name, (2, 1))


def tensor_parallel(name):
    plan, mesh = {"0": ColwiseParallel(), "2": RowwiseParallel()}, init_device_mesh("cpu", (2,))
    model = parallelize_module(make_model(units=6), mesh, plan)
    steps(model, fewshot.LearnedOptimizer(model.parameters(), name), range(STEPS))
    return whole(model)


def nan_in_one_shard(name):
    """As if the third step were not there."""
    model = make_model()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    optimizer = fewshot.LearnedOptimizer(model.parameters(), name)
    for step in (0, 1, 77, 2, 3):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        if step == 77 and dist.get_rank() == 1:
            next(model.parameters()).grad.to_local()[0, 0] = float("nan")
        optimizer.step()
    assert optimizer.skipped_steps == 1
    return whole(model)


def refusals():
    """What is not known to be right is refused."""
    model = fully_shard(make_model(), mesh=init_device_mesh("cpu", (2,)))
    core = LEARNED["l2o_scale"](torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="need the whole network"):
        steps(model, fewshot.LearnedOptimizer(model.parameters(), core), [0])
    cases = {
        "process_group": lambda: fewshot.LearnedOptimizer(fsdp1(make_model()).parameters(), "simple"),
        "use_orig_params": lambda: fewshot.LearnedOptimizer(
            FullyShardedDataParallel(make_model(), device_id=CPU).parameters(), "simple"
        ),
        "DTensor": lambda: fewshot.LearnedOptimizer(
            fully_shard(make_model(), mesh=init_device_mesh("cpu", (2,))).parameters(),
            "simple",
            process_group=dist.group.WORLD,
        ),
    }
    for words, make in cases.items():
        with pytest.raises(InputError, match=words):
            make()
    optimizer = fewshot.LearnedOptimizer(make_model().parameters(), "simple", process_group=dist.group.WORLD)
    with pytest.raises(InputError, match="process group"):
        copy.deepcopy(optimizer).step()


CASES = [ddp, ddp_with_join, zero, fsdp1_with_a_group, fsdp2, fsdp2_with_replicas, tensor_parallel, nan_in_one_shard]


def main(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    names = ("smoothed_simple", "rnnprop", f"{folder}/stabilized.safetensors")
    found = {(case.__name__, Path(name).stem): case(name) for case in CASES for name in names}
    refusals()
    dist.barrier()
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
