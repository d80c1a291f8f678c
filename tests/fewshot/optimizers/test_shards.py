"""Learned optimizers on models that are divided among processes, against one process that has all of it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from optimizer_models import make_model, take_steps

import fewshot
from fewshot.optimizers import Simple, create
from fewshot.optimizers.optimizer_file import OptimizerCard, save_optimizer

WORKER = Path(__file__).parent / "shard_worker.py"
WAYS = [
    "ddp",
    "ddp_with_join",
    "zero",
    "fsdp1_with_a_group",
    "fsdp2",
    "fsdp2_with_replicas",
    "tensor_parallel",
    "nan_in_one_shard",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed here"),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    options = Simple.Options(update_rms=0.05, nominal_rate=0.02)
    core = create(Simple, torch.Generator().manual_seed(1), options)
    save_optimizer(folder / "stabilized.safetensors", core, OptimizerCard("simple", "none", "none", 1))
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", WORKER, str(rank), folder],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    return torch.load(folder / "found.pt", weights_only=True), folder


@pytest.mark.parametrize("name", ["smoothed_simple", "rnnprop", "stabilized"])
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_step_as_one(found, way, name):
    model = make_model(units=6 if way == "tensor_parallel" else 5)  # which torch cannot divide unevenly
    tensors, folder = found
    optimizer = folder / "stabilized.safetensors" if name == "stabilized" else name
    expected = take_steps(model, fewshot.LearnedOptimizer(model.parameters(), optimizer), range(4))
    torch.testing.assert_close(tensors[way, name], expected, rtol=1e-5, atol=1e-6)
