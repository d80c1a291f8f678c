"""Several processes that train as one, under `torchrun`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


@dataclass(frozen=True)
class World:
    """How many processes train together, and which one this is; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that validates, writes and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things; `count` is a multiple of the size."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes of values of equal shapes, on each of them; no graph."""
        if self.size == 1:
            return values.detach()
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    def agrees(self, value: int, device: torch.device) -> bool:
        """Whether all processes hold the same number."""
        return self.size == 1 or bool((self.mean(torch.tensor(float(value), device=device)) == value).all())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """Let the leading process do something before the others do it."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[tuple[World, torch.device]]:
    """Join the processes that `torchrun` started, if it did; leave them at the end.

    Yields:
        The world, and this process's own device.
    """
    if "WORLD_SIZE" not in os.environ:
        yield World(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch normalization over the equal batches of all processes. torch has one for accelerators only."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]; in training all processes have the same B, H and W."""
        if not self.training:
            return super().forward(input)
        processes = dist.get_world_size()
        mean = all_reduce(input.mean(dim=(0, 2, 3))) / processes
        centred = input - mean[:, None, None]
        variance = all_reduce(centred.square().mean(dim=(0, 2, 3))) / processes
        self._track(mean, variance, processes * input.numel() // input.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        for tracked, value in ((self.running_mean, mean), (self.running_var, variance * count / (count - 1))):
            if tracked is not None:
                tracked.lerp_(value, self.momentum or 0.0)


def synchronize(net: nn.Module, device: torch.device) -> nn.Module:
    """`net` with batch normalizations whose statistics are those of all processes' batches together."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for name, child in net.named_children():
        setattr(net, name, _synced(child) if isinstance(child, nn.BatchNorm2d) else synchronize(child, device))
    return net


def _synced(norm: nn.BatchNorm2d) -> SyncedBatchNorm:
    synced = SyncedBatchNorm(norm.num_features, norm.eps, norm.momentum)
    synced.load_state_dict(norm.state_dict())
    return synced.to(norm.weight.device)
