"""Steps of trained optimizers: in place and in compiled code, against the forward pass that meta-training takes."""

import copy
import os
import subprocess
import sys

import pytest
import torch

import fewshot
from fewshot.general.stepping import LearnedStepper
from fewshot.optimizers import LEARNED, blocks
from fewshot.optimizers.blocks import hidden_rows
from fewshot.optimizers.fast import native
from fewshot.optimizers.parameter_state import StateBuffers, StateNames
from fewshot.optimizers.simple import SimpleOptions
from fewshot.regularizers import Spectral

COMPILED = ("simple", "dm", "rnnprop")
CORES = [*((name, {}) for name in COMPILED), ("simple", {"features": "full"}), ("rnnprop", {"hidden_size": 7})]


def make(name, options):
    core = LEARNED[name](torch.Generator().manual_seed(1), LEARNED[name].Options(**options)).requires_grad_(False)
    generator = torch.Generator().manual_seed(2)
    for parameter in core.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return core


def states(core, rows, steps=4):
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(rows, core.state_size, generator=generator) for _ in range(steps)]


@pytest.mark.parametrize("rows", [1, 5, 400])
@pytest.mark.parametrize(("name", "options"), CORES)
def test_a_step_in_place_has_the_bits_of_the_forward_pass(name, options, rows):
    core = make(name, options)
    hidden, in_place = core.init_hidden(rows), hidden_rows(core, torch.tensor([[rows]]))
    for state in states(core, rows):
        update, hidden = core(state, hidden)
        assert torch.equal(core.advance_(state.T, in_place), update[:, 0])
        assert all(torch.equal(a.T, b) for a, b in zip(hidden, in_place, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [5000, 1 << 20])
@pytest.mark.parametrize(("name", "options"), CORES)
def test_steppers_have_the_bits_of_forward_passes(name, options, size, threads, monkeypatch):
    core, rows, before = make(name, options), 36_001, torch.get_num_threads()
    for name_of_size in ("BLOCK", "CPU_BLOCK"):
        monkeypatch.setattr(blocks, name_of_size, size)
    weights = torch.randn(rows, generator=torch.Generator().manual_seed(4))
    stepper, now, memory = LearnedStepper(core, weights), weights, core.features.init(weights)
    hidden = [core.init_hidden(len(part)) for part in weights.split(size)]
    torch.set_num_threads(threads)
    try:
        for step in range(3):
            gradient = torch.randn(rows, generator=torch.Generator().manual_seed(10 + step))
            state, memory = core.features(gradient, weights, memory)
            steps = [core(part, own) for part, own in zip(state.split(size), hidden, strict=True)]
            hidden = [own for _, own in steps]
            weights = weights + torch.cat([update[:, 0] for update, _ in steps])
            now = stepper.step(now, gradient)
            assert torch.equal(now, weights)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(native.library() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rows", [1, 15, 16, 37, 10_001])
@pytest.mark.parametrize(("name", "options"), CORES)
def test_compiled_steps_are_as_exact_as_the_forward_pass(name, options, rows, threads):
    """Both are held against float64; hidden states lie in a larger buffer, as those of a drop-in optimizer do."""
    core, before = make(name, options), torch.get_num_threads()
    exact, step = copy.deepcopy(core).double(), core.native_step()
    wide = [torch.full((part.shape[1], rows + 40), 7.0) for part in core.init_hidden(0)]
    compiled = [part[:, 16 : 16 + rows].zero_() for part in wide]
    plain, true = hidden_rows(core, torch.tensor([[rows]])), hidden_rows(exact, torch.tensor([[rows]]))
    torch.set_num_threads(threads)
    try:
        for state in states(core, rows):
            found = step(state.T, compiled)
            core.advance_(state.T, plain)
            expected = exact.advance_(state.T.double(), true)
            torch.testing.assert_close(found, expected.float(), rtol=2e-5, atol=1e-6)
    finally:
        torch.set_num_threads(before)
    error, other = (max((a - b).abs().max() for a, b in zip(h, true, strict=True)) for h in (compiled, plain))
    assert error < max(2 * other, 1e-6)
    assert all((part[:, :16] == 7).all() and (part[:, 16 + rows :] == 7).all() for part in wide)


@pytest.mark.skipif(native.library() is None, reason="needs a C++ compiler")
def test_compiled_steps_know_infinities_and_what_is_not_a_number():
    core = make("simple", {})
    state = torch.tensor([[0.0, 1e30, -1e30, float("nan")]])
    hidden = hidden_rows(core, torch.tensor([[4]]))
    update = core.native_step()(state, hidden)
    assert update.isfinite().tolist() == [True, True, True, False]
    torch.testing.assert_close(update[:3], core.advance_(state, hidden_rows(core, torch.tensor([[4]])))[:3])
    assert update[0] == 0
    assert (hidden[0][:, 0] == 0).all()


def test_only_cores_that_are_known_are_compiled():
    core = LEARNED["dm"](torch.Generator().manual_seed(1)).requires_grad_(False)
    assert Spectral().attach(copy.deepcopy(core)).native_step() is None

    class Own(LEARNED["simple"]):
        def read(self, x, known, hidden):
            raise NotImplementedError

    assert Own(torch.Generator().manual_seed(1), SimpleOptions()).native_step() is None


@pytest.mark.parametrize("without", ["switch", "compiler", "cache"])
def test_without_compiled_code_the_steps_are_the_same_to_rounding(tmp_path, without):
    code = """
import torch, fewshot
from fewshot.optimizers.fast import native
weight = torch.nn.Parameter(torch.linspace(-1, 1, 50))
optimizer = fewshot.LearnedOptimizer([weight], "smoothed_simple")
for step in range(3):
    weight.grad = torch.linspace(-1, 2, 50).roll(step)
    optimizer.step()
print(native.library() is None, *weight.tolist())
"""
    cache = tmp_path / "fewshot-smooth-bench"
    if without == "cache":
        cache.mkdir()
        cache.chmod(0o777)
    changes = {"switch": {"FEWSHOT_NATIVE": "0"}, "compiler": {"CXX": "no-such-compiler"}, "cache": {}}
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **changes[without]}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    none, *numbers = run.stdout.split()
    assert none == "True"
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 50))
    optimizer = fewshot.LearnedOptimizer([weight], "smoothed_simple")
    for step in range(3):
        weight.grad = torch.linspace(-1, 2, 50).roll(step)
        optimizer.step()
    torch.testing.assert_close(torch.tensor([float(n) for n in numbers]), weight.detach(), rtol=1e-5, atol=1e-6)


def test_rows_of_the_buffers_do_not_share_lines_of_a_cache():
    core = make("simple", {})
    parameter = torch.nn.Parameter(torch.zeros(4096))
    buffers = StateBuffers(core, StateNames(core), {parameter: {}}, [parameter], torch.float32)
    assert buffers.hidden[0].stride(0) % 1024 >= 16
