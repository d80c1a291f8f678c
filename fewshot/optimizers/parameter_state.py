"""The state of a learned optimizer: by parameter for those who save it, [units, weights] for the core that steps."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.errors import InputError
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.core import Hidden
from fewshot.optimizers.shards import divided_alike, like, local

SEEN = "seen"


class StateNames:
    """What the state of a parameter consists of, by name: tensors of its shape, or of none.

    `memory_I` of the features; `hidden_I_U`, unit U of the core's I-th hidden, a single number where that has a row a
    tensor; and, for a core that would move on a gradient of zero, `seen`: 1 for weights that have had another gradient
    yet, else 0. Floating-point numbers all, for tools that take states of one type alone.
    """

    def __init__(self, core: CoordinatewiseOptimizer) -> None:
        self.memory = [f"memory_{i}" for i in range(len(core.features.init(torch.zeros(0, device="cpu"))))]
        units = [part.shape[1] for part in without_lengths(core, core.init_hidden(0))]
        cut = len(units) - core.tensor_parts
        names = [[f"hidden_{i}_{unit}" for unit in range(count)] for i, count in enumerate(units)]
        self.units, self.tensor_units = units[:cut], units[cut:]
        self.hidden, self.tensors = list(chain(*names[:cut])), list(chain(*names[cut:]))
        self.seen = [] if core.rests_at_zero else [SEEN]
        self.of_weights = [*self.memory, *self.hidden, *self.seen]
        self.exact = [*self.memory, *self.tensors]
        self.all = [*self.of_weights, *self.tensors]

    def check(self, state: MutableMapping[str, Any], parameter: Tensor) -> None:
        """Refuse what is not the state of a parameter of this shape.

        Raises:
            InputError: where a tensor is missing or has another shape.
        """
        missing = [name for name in self.all if not isinstance(state.get(name), Tensor)]
        if missing:
            raise InputError(
                f"the state of a parameter has no {missing[0]!r} but {', '.join(map(str, state)) or 'nothing'}: "
                "it is not that of this LearnedOptimizer"
            )
        for name in self.tensors:
            if state[name].shape:
                raise InputError(f"the state {name!r} has the shape {tuple(state[name].shape)}; it must be one number")
        for name in self.of_weights:
            if state[name].shape != parameter.shape or not divided_alike(state[name], parameter):
                raise InputError(
                    f"the state {name!r} has the shape {tuple(state[name].shape)}, its parameter "
                    f"{tuple(parameter.shape)}: it belongs to another parameter, or is divided otherwise"
                )

    def upgraded(self, state: MutableMapping[str, Any], parameter: Tensor) -> MutableMapping[str, Any]:
        """The state that version 0.1.0 would have saved as `state`: lists of flat tensors, all of them seen."""
        if not isinstance(state.get("hidden"), list):
            return state
        hidden = [unit for part in state["hidden"] for unit in part]
        named = zip([*self.memory, *self.hidden], [*state["memory"], *hidden], strict=True)
        if any(part.numel() != parameter.numel() for part in [*state["memory"], *hidden]):
            raise InputError(f"a state is not of a parameter of shape {tuple(parameter.shape)}; it belongs to another")
        found: dict[str, Any] = {name: part.view(parameter.shape) for name, part in named}
        return found | {name: torch.ones(parameter.shape) for name in self.seen}


def without_lengths(core: CoordinatewiseOptimizer, hidden: Hidden) -> Hidden:
    """Hidden without what is no memory."""
    return hidden if core.independent_rows else hidden[:-1]


class Unseen:
    """Hides a parameter's state from the base class of optimizers, which would round it to the parameter's type."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state


def cloned(state: dict[str, Any]) -> dict[str, Any]:
    """A state whose tensors have a memory of their own: a view of buffers would be pickled with all of them."""

    def clone(value: Any) -> Any:
        if isinstance(value, list):
            return [clone(each) for each in value]
        return value.clone() if isinstance(value, Tensor) else value

    return {name: clone(value) for name, value in state.items()}


class StateBuffers:
    """The states of parameters on one device, side by side; what the optimizer shows of each are views.

    A core then steps all of them at once, whatever their sizes, and nothing is gathered or scattered.
    """

    def __init__(
        self,
        core: CoordinatewiseOptimizer,
        names: StateNames,
        states: MutableMapping[Any, dict[str, Any]],
        parameters: Iterable[nn.Parameter],
        hidden_dtype: torch.dtype,
    ) -> None:
        """Move the states of `parameters` here, or start them: `states` then has views, in their place."""
        self.places: dict[nn.Parameter, slice] = {}
        """Rows of each parameter, in the order of the columns of `tensors`."""
        self._views: dict[nn.Parameter, list[tuple[str, Tensor]]] = {}
        rows, device = 0, torch.device("cpu")
        for parameter in parameters:
            part = local(parameter)
            self.places[parameter] = slice(rows, rows + part.numel())
            rows, device = rows + part.numel(), part.device
        # rows that lie a multiple of 4 KiB apart would compete for the same lines of a cache
        stride = rows + (16 if rows % 1024 < 16 else 0)
        self.memory = [torch.empty(rows, dtype=torch.float32, device=device) for _ in names.memory]
        self.hidden = [torch.empty(units, stride, dtype=hidden_dtype, device=device)[:, :rows] for units in names.units]
        self.tensors = [
            torch.empty(units, len(self.places), dtype=torch.float32, device=device) for units in names.tensor_units
        ]
        self.seen = torch.empty(rows, dtype=hidden_dtype, device=device) if names.seen else None
        self.vector = torch.empty(rows, dtype=torch.float32, device=device)
        """Room for a number a weight within a step: fresh memory would cost more than what is done with it."""
        self.all_seen = self.seen is None
        """Whether every weight has had a gradient other than zero; false is always right."""
        lines = [*self.memory, *(unit for part in self.hidden for unit in part)]
        lines += [] if self.seen is None else [self.seen]
        new: list[int] = []
        for column, (parameter, place) in enumerate(self.places.items()):
            state, shape = states[parameter], local(parameter).shape
            views = [(name, line[place].view(shape)) for name, line in zip(names.of_weights, lines, strict=True)]
            numbers = [unit[column] for part in self.tensors for unit in part]
            numbers = list(zip(names.tensors, numbers, strict=True))
            if any(name in state for name in names.all):
                names.check(state, parameter)
                for name, view in (*views, *numbers):
                    view.copy_(local(state[name]))
            else:
                self._start_memory(core, parameter, place)
                new.append(column)
            self._views[parameter] = [*((name, like(parameter, view)) for name, view in views), *numbers]
            state.update(self._views[parameter])
        for some in [[column] for column in new] if core.by_rows else [new]:
            self._start(core, some)

    def hold(self, states: MutableMapping[Any, dict[str, Any]], parameters: Iterable[nn.Parameter]) -> bool:
        """Whether the states of all these parameters are views of these buffers, and not put in from outside."""
        for parameter in parameters:
            state, views = states[parameter], self._views.get(parameter)
            if views is None or any(view.device != parameter.device for _, view in views[:1]):
                return False
            if any(state.get(name) is not view for name, view in views):
                return False
        return True

    def runs(self, parameters: Iterable[nn.Parameter]) -> list[slice]:
        """Where some of the parameters lie, in the order of the buffers: neighbours in one slice."""
        found: list[slice] = []
        for place in (self.places[parameter] for parameter in parameters):
            if found and found[-1].stop == place.start:
                found[-1] = slice(found[-1].start, place.stop)
            else:
                found.append(place)
        return found

    def columns(self, parameters: Iterable[nn.Parameter]) -> list[int]:
        """Columns of `tensors` that belong to some of the parameters."""
        order = {parameter: column for column, parameter in enumerate(self.places)}
        return [order[parameter] for parameter in parameters]

    def _start_memory(self, core: CoordinatewiseOptimizer, parameter: nn.Parameter, place: slice) -> None:
        weights = local(parameter.detach()).reshape(-1).float()
        for part, start in zip(self.memory, core.features.init(weights), strict=True):
            part[place] = start
        if self.seen is not None:
            self.seen[place] = 0

    def _start(self, core: CoordinatewiseOptimizer, columns: list[int]) -> None:
        """Hidden of some parameters, as a network that consists of them begins."""
        places = list(self.places.values())
        sizes = [places[column].stop - places[column].start for column in columns]
        hidden = without_lengths(core, core.begin(torch.tensor([sizes], dtype=torch.int64, device="cpu")))
        cut = len(self.hidden)
        for part, start in zip(self.hidden, hidden[:cut], strict=True):
            for column, own in zip(columns, start.split(sizes), strict=True):
                part[:, places[column]] = own.T
        for part, start in zip(self.tensors, hidden[cut:], strict=True):
            part[:, columns] = start.T
