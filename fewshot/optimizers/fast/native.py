"""Inference steps of recurrent optimizers in C++, compiled where they are first used.

On a CPU, a step of tensor operations is a dozen passes over memory; `rows.cpp` makes one. Where there is no compiler,
or the environment has `FEWSHOT_NATIVE=0`, everything works without it, more slowly; the two differ by rounding.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("rows.cpp")
FLAGS = ("-O3", "-march=native", "-fPIC", "-shared")
_ROWS, _OUTPUTS = 16, 5
"""As in the source."""

NativeStep = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""As `CoordinatewiseOptimizer.advance_`, to rounding: state [F, rows], hidden each [units, rows] with
neighbouring rows side by side -> updates [rows]."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled source; None where it cannot be had."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if os.environ.get("FEWSHOT_NATIVE", "1") == "0" or compiler is None:
        return None
    # no home, no process, no permission, no library: whatever it is, there is the other way
    with contextlib.suppress(OSError, RuntimeError, AttributeError, subprocess.SubprocessError):
        return ctypes.CDLL(str(_compiled(compiler)))
    return None


def _compiled(compiler: str) -> Path:
    """The shared library for this source, compiler and processor, from the cache where it is there."""
    # what the compiler says of itself and of the processor: a cache may be shared by machines
    macros = [compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull]
    target = subprocess.run(macros, capture_output=True, check=True, timeout=60).stdout
    identity = hashlib.sha256(SOURCE.read_bytes() + repr(FLAGS).encode() + target).hexdigest()
    folder = _cache()
    path = folder / f"rows-{identity[:20]}.so"
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / path.name
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(made)]
            subprocess.run(command, capture_output=True, check=True, timeout=120)
            made.replace(path)  # at once: other processes find all of it or nothing
    return path


def _cache() -> Path:
    """A folder that nobody else can write to."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "fewshot-smooth-bench"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat()
    if hasattr(os, "getuid") and (owner.st_uid != os.getuid() or owner.st_mode & 0o022):
        raise PermissionError(f"others can write to {folder}")
    return folder


def simple(weight: Tensor, recurrent: Tensor, output: Tensor) -> NativeStep | None:
    """The step of `Simple`; None where there is no compiled code.

    Args:
        weight: [units, F].
        recurrent: [units, units].
        output: [1, units].
    """
    code = library()
    if code is None:
        return None
    units, features = weight.shape
    packed, last = _packed(torch.cat([weight, recurrent], dim=1)), output.contiguous()

    def step(state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        update, scratch = state.new_empty(state.shape[1]), _scratch(features + 2 * (units + _OUTPUTS))
        sizes = _longs(state.shape[1], features, units)
        memory = _at(state), *_longs(*state.stride()), _at(hidden[0]), *_longs(hidden[0].stride(0))
        code.advance_simple(*sizes, *memory, *map(_at, (packed, last, update, scratch)))
        return update

    return functools.partial(_in_threads, step)


def two_layers(
    layers: Sequence[tuple[Tensor, Tensor, Tensor]],
    output: tuple[Tensor, Tensor],
    entry: tuple[Tensor, Tensor] | None = None,
) -> NativeStep | None:
    """The step of two LSTM layers and a linear output; None where there is no compiled code.

    Args:
        layers: of each, weights of what enters it [4 H, inputs] and of its own output [4 H, H], and biases [4 H].
        output: weights [1, H] and bias [1].
        entry: weights [H, F] and biases [H] of a linear layer with ELU by which the state enters.
    """
    code = library()
    if code is None:
        return None
    units, features = output[0].shape[1], (entry or layers[0])[0].shape[1]
    weights: list[Tensor | None] = [None, None] if entry is None else [_packed(entry[0]), _packed(entry[1][:, None])]
    for inputs, recurrent, bias in layers:
        weights += [_packed(torch.cat([inputs, recurrent], dim=1), 4), _packed(bias[:, None], 4)]
    last, last_bias = output[0].contiguous(), ctypes.c_float(output[1].item())

    def step(state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
        update, scratch = state.new_empty(state.shape[1]), _scratch(features + 11 * (units + _OUTPUTS))
        sizes, strides = _longs(state.shape[1], features, units), [part.stride(0) for part in hidden]
        memory = _at(state), *_longs(*state.stride()), *map(_at, hidden), (ctypes.c_long * 4)(*strides)
        code.advance_two_layers(*sizes, *memory, *map(_at, (*weights, last)), last_bias, _at(update), _at(scratch))
        return update

    return functools.partial(_in_threads, step)


def _in_threads(step: NativeStep, state: Tensor, hidden: Sequence[Tensor]) -> Tensor:
    """The step in as many threads as torch would use; a foreign function runs without the interpreter's lock."""
    rows, threads = state.shape[1], torch.get_num_threads()
    if threads == 1 or rows < 4096:  # too few to be worth handing over
        return step(state, hidden)
    size = -(-rows // threads)
    parts = [slice(start, start + size) for start in range(0, rows, size)]
    states = [state[:, part] for part in parts]
    return torch.cat(list(_pool(os.getpid(), threads).map(step, states, [[h[:, p] for h in hidden] for p in parts])))


@functools.lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork has none."""
    return ThreadPoolExecutor(threads)


def _packed(weight: Tensor, gates: int = 1) -> Tensor:
    """[gates · outputs, inputs] -> [gates, outputs / 5, inputs, 5], outputs filled up with zeros."""
    weight = weight.unflatten(0, (gates, -1))
    weight = torch.nn.functional.pad(weight, (0, 0, 0, -weight.shape[1] % _OUTPUTS))
    return weight.unflatten(1, (-1, _OUTPUTS)).transpose(2, 3).contiguous()


def _scratch(units: int) -> Tensor:
    return torch.empty(units * _ROWS, dtype=torch.float32, device="cpu")


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    """Its address, which does not keep it alive: the caller does, by a name of its own."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _longs(*values: int) -> list[ctypes.c_long]:
    return [ctypes.c_long(value) for value in values]
