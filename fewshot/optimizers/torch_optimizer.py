"""A meta-trained optimizer as a `torch.optim.Optimizer`, for any model."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from fewshot.errors import InputError, one_of
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.device_step import DeviceStep, Move, without_autocast
from fewshot.optimizers.fast.native import NativeStep
from fewshot.optimizers.optimizer_file import load_optimizer
from fewshot.optimizers.parameter_groups import check_group, rates, renamed
from fewshot.optimizers.parameter_state import StateBuffers, StateNames, Unseen, cloned
from fewshot.optimizers.shards import Groups, check_shards, groups_of, pooled, zero_redundancy_group
from fewshot.weights_file import weights_sha256

NonFinite = Literal["skip", "leave_out"]
STATE_DTYPES = (torch.float32, torch.bfloat16)
_UNSET: Any = object()


class LearnedOptimizer(torch.optim.Optimizer):
    """Steps with a learned optimizer: w ← w + lr · u, u from features of the gradients of all weights.

        optimizer = fewshot.LearnedOptimizer(model.parameters(), "smoothed_simple")

    Features such as the root mean square of the gradient are taken over all weights of all groups together, as in
    meta-training, on whatever devices they lie and over all processes that hold parts of them. Parameters whose `.grad`
    is None in a step are not part of it: they do not move, they do not count in those features, and their memory stays
    as it is until they have a gradient again. A weight whose gradient has always been zero, such as those of an
    embedding's unused rows, stands still too, and so does its memory; it counts in the features.

    `lr` multiplies the steps; it is there for schedules. The optimizer has learned its own rate, and 1 is what it was
    trained with; at 0 weights stand still. A parameter group may set `lr`, `weight_decay` and `maximize`.

    A gradient that is not finite spreads nowhere: by default the whole step is left undone, and counted in
    `skipped_steps`; with `nonfinite="leave_out"` the step is taken without the weights whose gradient it is.

    Whatever the type of the parameters, the state is float32: for `simple`, 80 bytes a weight and 4 not saved.
    `state[parameter]` holds tensors of the parameter's shape. `step` computes in float32 and outside of any autocast.
    """

    def __init__(
        self,
        params: Iterable[Any],
        optimizer: str | Path | CoordinatewiseOptimizer,
        lr: float | Tensor = 1.0,
        *,
        weight_decay: float = 0.0,
        maximize: bool = False,
        nonfinite: NonFinite = "skip",
        state_dtype: torch.dtype = torch.float32,
        process_group: Any = None,
        scale: float = _UNSET,
    ) -> None:
        """Set up the steps.

        Args:
            params: parameters, named parameters, or groups of them, as every torch optimizer takes them.
            optimizer: the name of a shipped optimizer, a file of one, or an optimizer, of which a copy is taken.
            lr: multiplier of the steps of groups that do not set their own.
            weight_decay: decoupled, as in AdamW: before each step, weights lose this share of themselves, times `lr`.
            maximize: whether to go up instead of down.
            nonfinite: what to do in a step where a gradient is not finite.
            state_dtype: of the core's hidden state; bfloat16 takes half the memory.
            process_group: processes that hold the other parts of the parameters, where these are shards; all of them
                must step together. DTensors and ZeroRedundancyOptimizer do not need it.
            scale: what `lr` was called in version 0.1.0.

        Raises:
            InputError: where there is no such optimizer, an option is not one of those that it may be, a parameter is
                complex, or it cannot be known which shards other processes hold.
        """
        if isinstance(params, str | Path | nn.Module):
            raise InputError(f"params is {params!r:.60}; it must be parameters, such as model.parameters()")
        if not isinstance(optimizer, str | Path | CoordinatewiseOptimizer):
            raise InputError(
                f"optimizer is {optimizer!r:.60}; it must be the name of a shipped learned optimizer, the path of a "
                "file of one, or a CoordinatewiseOptimizer"
            )
        one_of("nonfinite", nonfinite, get_args(NonFinite))
        if state_dtype not in STATE_DTYPES:
            raise InputError(f"state_dtype is {state_dtype}; choose one of: {', '.join(map(str, STATE_DTYPES))}")
        core = load_optimizer(optimizer)[0] if isinstance(optimizer, str | Path) else copy.deepcopy(optimizer)
        self.core = core.float().cpu().eval().requires_grad_(False)
        self.nonfinite, self.state_dtype = nonfinite, state_dtype
        self.process_group = zero_redundancy_group() if process_group is None else process_group
        self.skipped_steps = 0
        """Steps left undone because a gradient was not finite."""
        self._arguments = {"optimizer": optimizer, "nonfinite": nonfinite, "state_dtype": state_dtype}
        self._prepare()
        weights = {name: weight.detach().cpu() for name, weight in self.core.effective_weights().items()}
        defaults = {
            "lr": lr if scale is _UNSET else scale,
            "weight_decay": weight_decay,
            "maximize": maximize,
            # OneCycleLR and CyclicLR want a place to write to; a learned optimizer has a momentum of its own
            "momentum": None,
            "core": weights_sha256(weights),
        }
        super().__init__(params, defaults)

    def _prepare(self) -> None:
        """What is not saved."""
        self._names = StateNames(self.core)
        self._cores: dict[torch.device, tuple[CoordinatewiseOptimizer, NativeStep]] = {}
        self._buffers: dict[torch.device, StateBuffers] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(renamed(param_group) if isinstance(param_group, dict) else param_group)
        group = self.param_groups[-1]
        try:
            check_group(group, self.defaults, self._arguments)
            check_shards(group["params"], self.process_group)
        except InputError:
            self.param_groups.pop()
            raise

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient.

        Args:
            closure: evaluates the model again and returns the loss.

        Returns:
            What the closure returned, or None.

        Raises:
            InputError: where a gradient is sparse, or an option of a group is no longer a number.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moves = self._moves()
        devices = {move.parameter.device for move in moves}
        with torch.no_grad(), without_autocast(devices):
            self._step([self._on_device(device, moves) for device in sorted(devices, key=str)])
        return loss

    def _step(self, parts: list[DeviceStep]) -> None:
        squares = self._pooled_squares(parts)
        if not math.isfinite(squares[0]):
            if self.nonfinite == "skip":
                self.skipped_steps += 1
                return
            for part in parts:
                part.leave_out_nonfinite()
            squares = self._pooled_squares(parts)
        if self.core.features.needs == "network" and (len(parts) > 1 or self._groups()):
            raise InputError(
                f"the features {type(self.core.features).__name__} need the whole network at once, but its parameters "
                "lie on several devices or in several processes"
            )
        for part in parts:
            part.advance(squares[0] / max(squares[1], 1.0))
        if self.core.update_rms:
            outputs = self._pooled_squares(parts)
            for part in parts:
                part.scale(outputs[0] / max(outputs[1], 1.0))
        for part in parts:
            part.move()

    def _moves(self) -> list[Move]:
        """What is to move, each parameter once."""
        moves: dict[nn.Parameter, Move] = {}
        for group in self.param_groups:
            lr, weight_decay = rates(group)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    raise InputError(
                        "a gradient is sparse; learned optimizers need dense ones, such as nn.Embedding(sparse=False) "
                        "gives"
                    )
                moves[parameter] = Move(parameter, lr, weight_decay, group["maximize"])
        return list(moves.values())

    def _on_device(self, device: torch.device, moves: list[Move]) -> DeviceStep:
        here = [move for move in moves if move.parameter.device == device]
        if device not in self._cores:
            core = copy.deepcopy(self.core).to(device)
            native = core.native_step() if device.type == "cpu" else None
            self._cores[device] = core, native or core.advance_
        buffers = self._buffers.get(device)
        moving = {move.parameter for move in here}
        if buffers is None or not buffers.hold(self.state, moving):
            kept = {p for g in self.param_groups for p in g["params"] if p.device == device and self.state.get(p)}
            stay = [p for g in self.param_groups for p in dict.fromkeys(g["params"]) if p in moving | kept]
            buffers = StateBuffers(self._cores[device][0], self._names, self.state, stay, self.state_dtype)
            self._buffers[device] = buffers
        return DeviceStep(
            *self._cores[device], buffers, sorted(here, key=lambda move: buffers.places[move.parameter].start)
        )

    def _groups(self) -> list[Groups]:
        """The ways in which parameters are divided over processes, the same list in each of them."""
        parameters = (p for g in self.param_groups for p in g["params"])
        return [groups for groups in dict.fromkeys(groups_of(p, self.process_group) for p in parameters) if groups]

    def _pooled_squares(self, parts: list[DeviceStep]) -> tuple[float, float]:
        """The sum of squares of the whole gradient, or of what has taken its place, and its size."""
        if self.process_group == _LOST:
            raise InputError("this optimizer was copied without its process group; set its `process_group` again")
        sums: dict[Groups, list[float]] = {groups: [0.0, 0.0] for groups in self._groups()}
        sums = defaultdict(lambda: [0.0, 0.0], sums)
        for part in parts:
            for groups, square, count in part.squares(self.process_group):
                sums[groups][0] += square
                sums[groups][1] += count
        if not sums:
            return 0.0, 0.0
        device = next(p.device for g in self.param_groups for p in g["params"])
        square, count = pooled(sums, device)
        return square, count

    def state_dict(self) -> dict[str, Any]:
        """As every optimizer's; the tensors are copies, each with a memory of its own."""
        # before those of others
        handle = self.register_state_dict_post_hook(lambda _, state: self._with_copies(state), prepend=True)
        try:
            return super().state_dict()
        finally:
            handle.remove()

    def _with_copies(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        return {**state_dict, "state": {key: cloned(state) for key, state in state_dict["state"].items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue exactly where another instance's `state_dict()` was taken, one of version 0.1.0 too.

        Raises:
            InputError: where that had another learned optimizer, or parameters of other shapes.
        """
        handle = self.register_load_state_dict_pre_hook(lambda _, state: self._checked(state))  # after those of others
        try:
            super().load_state_dict(dict(state_dict))
        finally:
            handle.remove()

    def _checked(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """What the base class may load: it would round a state to the type of its parameter, so it sees none."""
        mine, groups = self.defaults["core"], state_dict["param_groups"]
        if not all("core" in group for group in groups):
            raise InputError("this is not the state of a LearnedOptimizer but of another optimizer")
        if any(group["core"] != mine for group in groups):
            raise InputError(
                "this state belongs to another learned optimizer (its weights have another hash); make the "
                "LearnedOptimizer with the name or file that it was made with"
            )
        states = {key: Unseen(cloned(state)) for key, state in state_dict["state"].items()}
        return {**state_dict, "state": states, "param_groups": [self.defaults | renamed(group) for group in groups]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "core" in state:  # a copy, not a state that is loaded
            self.__dict__.update({"nonfinite": "skip", "state_dtype": torch.float32, "process_group": None})
            self.__dict__.update({"skipped_steps": 0, "_arguments": {}, **state})
            self._prepare()
        defaults = {"lr": 1.0, "weight_decay": 0.0, "maximize": False, "momentum": None}
        groups = [defaults | renamed(group) for group in state["param_groups"]]
        if "defaults" in state:
            state = {**state, "defaults": defaults | renamed(state["defaults"])}
        states: defaultdict[Any, Any] = defaultdict(dict)
        for key, found in state["state"].items():
            states[key] = found.state if isinstance(found, Unseen) else found
            if isinstance(key, Tensor) and states[key]:
                states[key] = self._of_parameter(key, states[key])
        super().__setstate__({**state, "state": states, "param_groups": groups})

    def _of_parameter(self, parameter: Tensor, state: dict[str, Any]) -> dict[str, Any]:
        """A state that came from outside, where its parameter is and in the types that states have here."""
        state = dict(self._names.upgraded(state, parameter))
        self._names.check(state, parameter)
        exact = {name: state[name].to(parameter.device, torch.float32) for name in self._names.exact}
        others = (*self._names.hidden, *self._names.seen)
        return state | exact | {name: state[name].to(parameter.device, self.state_dtype) for name in others}

    def __getstate__(self) -> dict[str, Any]:
        own = ("core", "nonfinite", "state_dtype", "skipped_steps")
        states = defaultdict(dict, {key: cloned(state) for key, state in self.state.items()})
        lost = {"process_group": None if self.process_group is None else _LOST}
        return {**super().__getstate__(), "state": states, **{name: getattr(self, name) for name in own}, **lost}


_LOST = "lost"
"""The process group of a copy: process groups cannot be copied, and without one the copy must not step."""
