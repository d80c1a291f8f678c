"""Sums over the weights of a network of which each process holds a part."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from fewshot.errors import InputError

Groups = tuple[Any, ...]
"""The process groups over which a parameter is divided; `()` where this process has all of it."""


def local(tensor: Any) -> Tensor:
    """What this process holds of a tensor; the tensor itself unless it is a DTensor. Shares its memory."""
    return tensor.to_local() if _is_dtensor(tensor) else tensor


def local_gradient(parameter: Any) -> Tensor | None:
    """What this process holds of a parameter's gradient, divided as the parameter is."""
    gradient = parameter.grad
    if gradient is not None and _is_dtensor(gradient):
        gradient = gradient.redistribute(placements=parameter.placements)
    return None if gradient is None else local(gradient)


def like(parameter: Tensor, part: Tensor) -> Tensor:
    """This process's part of a tensor that is divided as `parameter` is, as such a tensor."""
    if not _is_dtensor(parameter):
        return part
    from torch.distributed.tensor import DTensor

    whole: Any = parameter
    stride = torch.empty(whole.shape, device="meta").stride()
    return DTensor.from_local(
        part, whole.device_mesh, whole.placements, run_check=False, shape=whole.shape, stride=stride
    )


def divided_alike(tensor: Tensor, other: Tensor) -> bool:
    """Whether processes hold corresponding parts of two tensors of one shape."""
    if not _is_dtensor(tensor) or not _is_dtensor(other):
        return _is_dtensor(tensor) == _is_dtensor(other)
    a: Any = tensor
    b: Any = other
    return a.device_mesh == b.device_mesh and a.placements == b.placements


def groups_of(parameter: Tensor, process_group: Any) -> Groups:
    """Over which processes a parameter is divided.

    Args:
        parameter: any; a DTensor says itself.
        process_group: of plain tensors; None: they are not divided.
    """
    if not _is_dtensor(parameter):
        return () if process_group is None else (process_group,)
    divided: Any = parameter
    return tuple(
        divided.device_mesh.get_group(dimension)
        for dimension, placement in enumerate(divided.placements)
        if not placement.is_replicate()
    )


def pooled(sums: Mapping[Groups, list[float]], device: torch.device) -> list[float]:
    """Add sums of parts over the processes that have the others, and over all kinds of parts.

    All processes must call this with the same groups in the same order.
    """
    found = []
    for groups, values in sums.items():
        total = torch.tensor(values, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        for group in groups:
            dist.all_reduce(total, group=group)
        found.append(total.tolist())
    return [sum(column) for column in zip(*found, strict=True)]


def check_shards(parameters: Iterable[Tensor], process_group: Any) -> None:
    """Refuse parameters of which it cannot be known what the other processes hold.

    Raises:
        InputError: for parameters that FSDP1 has flattened, without a process group or in one padded tensor; for
            DTensors with a process group, and for those that are partial sums.
    """
    for parameter in parameters:
        if _is_dtensor(parameter):
            divided: Any = parameter
            if process_group is not None:
                raise InputError("process_group is for plain tensors; a DTensor knows over which processes it lies")
            if any(placement.is_partial() for placement in divided.placements):
                raise InputError("a parameter is a DTensor of partial sums; redistribute it to shards or replicas")
        elif getattr(parameter, "_is_flat_param", False):
            raise InputError("FSDP has padded the parameters; make it with use_orig_params=True")
        elif getattr(parameter, "_fsdp_flattened", False) and process_group is None:
            raise InputError(
                "the parameters are shards of FSDP, and the optimizer needs the mean square of the whole gradient; "
                "say over which processes they lie: process_group=torch.distributed.group.WORLD"
            )


def zero_redundancy_group() -> Any:
    """The process group of the ZeroRedundancyOptimizer that is making an optimizer now; None where there is none.

    It keeps its `process_group` for itself, and gives an optimizer that it makes no other sign.
    """
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    frame = None if module is None else sys._getframe(1)
    while module is not None and frame is not None:
        maker: Any = frame.f_locals.get("self")
        if isinstance(maker, module.ZeroRedundancyOptimizer):
            return maker.process_group
        frame = frame.f_back
    return None


def _is_dtensor(tensor: Tensor) -> bool:
    # without an import, which takes a second that single processes need not spend
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)
