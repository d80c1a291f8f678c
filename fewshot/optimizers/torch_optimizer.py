"""A meta-trained optimizer as a `torch.optim.Optimizer`, for any model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.errors import InputError
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.optimizer_file import load_optimizer
from fewshot.weights_file import weights_sha256

CHUNK = 1 << 14
"""Weights that go through the core at a time: its intermediate results then stay in the processor's cache."""


class LearnedOptimizer(torch.optim.Optimizer):
    """Steps with a learned optimizer: w ← w + scale · u, u from features of the gradients of all weights.

        optimizer = fewshot.LearnedOptimizer(model.parameters(), "smoothed_simple")

    Features such as the root mean square of the gradient are taken over all weights of all groups together, as in
    meta-training. Parameters whose `.grad` is None in a step are not part of it: they do not move, they do not count
    in those features, and their memory stays as it is until they have a gradient again.

    A parameter group may set `scale`, a multiplier of its steps. There is no learning rate: the optimizer has learned
    its own, and a scale of 1 is what it was trained with.

    Whatever the type of the parameters, the memory is float32: for `simple`, 80 bytes a weight.
    """

    def __init__(
        self,
        params: Iterable[Any],
        optimizer: str | Path | CoordinatewiseOptimizer,
        scale: float = 1.0,
    ) -> None:
        """Set up the steps.

        Args:
            params: parameters, named parameters, or groups of them, as every torch optimizer takes them.
            optimizer: the name of a shipped optimizer, a file of one, or an optimizer, of which a copy is taken.
            scale: multiplier of the steps of groups that do not set their own.

        Raises:
            InputError: where there is no such optimizer, a scale is negative or not finite, or a parameter is complex.
        """
        core = load_optimizer(optimizer)[0] if isinstance(optimizer, str | Path) else copy.deepcopy(optimizer)
        self.core = core.float().eval().requires_grad_(False)
        weights = {name: weight.detach().cpu() for name, weight in self.core.effective_weights().items()}
        super().__init__(params, {"scale": scale, "core": weights_sha256(weights)})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if not 0 <= group["scale"] < float("inf"):
            raise InputError(f"scale is {group['scale']}; it must be a finite number of at least 0")
        if any(p.is_complex() for p in group["params"]):
            raise InputError("a parameter is complex; learned optimizers take real numbers, see torch.view_as_real")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient.

        Args:
            closure: evaluates the model again and returns the loss.

        Returns:
            What the closure returned, or None.

        Raises:
            InputError: where a gradient is sparse, or parameters lie on several devices.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moving = [(p, g["scale"]) for g in self.param_groups for p in g["params"] if p.grad is not None and p.numel()]
        if moving:
            with torch.no_grad(), self.core.unroll():
                self._step(moving)
        return loss

    def _step(self, moving: list[tuple[nn.Parameter, float]]) -> None:
        self._check([p for p, _ in moving])
        states = [self.state[p] or self._start(p) for p, _ in moving]
        sizes = [p.numel() for p, _ in moving]
        memory = tuple(torch.cat(parts) for parts in zip(*(s["memory"] for s in states), strict=True))
        gradient = torch.cat([p.grad.reshape(-1).float() for p, _ in moving if p.grad is not None])
        weights = torch.cat([p.reshape(-1).float() for p, _ in moving])
        rows, memory = self.core.features(gradient, weights, memory)
        parts: list[tuple[Tensor, ...]] = [()] * len(moving)
        if memory:
            parts = list(zip(*(part.split(sizes) for part in memory), strict=True))
        for (parameter, scale), state, own, part in zip(moving, states, rows.split(sizes), parts, strict=True):
            state["memory"] = [each.clone() for each in part]
            parameter.add_(self._update(own, state["hidden"]).view_as(parameter), alpha=scale)

    def _update(self, rows: Tensor, hidden: list[Tensor]) -> Tensor:
        """Updates [n] of one parameter's rows [n, F]; its hidden, each [units, n], moves on in place."""
        update = rows.new_empty(len(rows))
        for start in range(0, len(rows), CHUNK):
            chunk = slice(start, start + CHUNK)
            result, following = self.core(rows[chunk], tuple(h[:, chunk].T for h in hidden))
            update[chunk] = result[:, 0]
            for old, new in zip(hidden, following, strict=True):
                old[:, chunk] = new.T
        return update

    def _start(self, parameter: nn.Parameter) -> dict[str, list[Tensor]]:
        """The state of a parameter that has not moved yet."""
        weights = parameter.detach().reshape(-1).float()
        state = self.state[parameter]
        state["memory"] = list(self.core.features.init(weights))
        state["hidden"] = [h.T.contiguous() for h in self.core.init_hidden(len(weights))]
        return state

    def _check(self, parameters: list[nn.Parameter]) -> None:
        if any(p.grad is not None and p.grad.is_sparse for p in parameters):
            raise InputError(
                "a gradient is sparse; learned optimizers need dense ones, such as nn.Embedding(sparse=False) gives"
            )
        devices = {p.device for p in parameters}
        if len(devices) > 1:
            raise InputError(f"parameters lie on {len(devices)} devices; all must be on one")
        self.core.to(devices.pop())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue exactly where another instance's `state_dict()` was taken.

        Raises:
            InputError: where that had another learned optimizer.
        """
        mine, theirs = self.defaults["core"], [group.get("core") for group in state_dict["param_groups"]]
        if any(core != mine for core in theirs):
            raise InputError(
                "this state belongs to another learned optimizer (its weights have another hash); make the "
                "LearnedOptimizer with the name or file that it was made with"
            )
        super().load_state_dict(dict(state_dict))
        # The base class has cast the memory to the parameters' type, and so lost bits of it.
        ids = [index for group in state_dict["param_groups"] for index in group["params"]]
        parameters = [p for group in self.param_groups for p in group["params"]]
        for index, parameter in zip(ids, parameters, strict=True):
            if index in state_dict["state"]:
                saved = state_dict["state"][index]
                self.state[parameter] = {
                    name: [each.detach().clone().to(parameter.device, torch.float32) for each in tensors]
                    for name, tensors in saved.items()
                }

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "core": self.core}
