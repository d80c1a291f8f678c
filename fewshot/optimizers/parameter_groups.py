"""What parameter groups of a learned optimizer may say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from fewshot.errors import InputError

_OF_SCHEDULES = {"initial_lr", "max_lr", "min_lr", "swa_lr", "base_momentum", "max_momentum", "name", "param_names"}
"""What schedules and trainers of torch and Lightning keep in groups."""


def renamed(group: dict[str, Any]) -> dict[str, Any]:
    """A group with `lr` where it has the `scale` of version 0.1.0."""
    if "scale" not in group:
        return group
    if "lr" in group:
        raise InputError("a parameter group sets both lr and scale; scale is its old name")
    return {"lr" if key == "scale" else key: value for key, value in group.items()}


def check_group(group: Mapping[str, Any], options: Iterable[str], arguments: Mapping[str, Any]) -> None:
    """Refuse a group that sets what a learned optimizer does not have, or what is no such option.

    Args:
        group: complete, with its defaults.
        options: names of options of groups.
        arguments: with which the optimizer was made, and which are no options of groups; ZeroRedundancyOptimizer puts
            them there all the same.

    Raises:
        InputError: naming the option.
    """
    for name, value in arguments.items():
        if name in group and group[name] is not value:
            raise InputError(f"a parameter group sets {name}; it is the same for all groups")
    unknown = [key for key in group if key not in {"params", *options, *arguments, *_OF_SCHEDULES}]
    if unknown or group["momentum"] is not None:
        raise InputError(
            f"a parameter group sets {', '.join(map(repr, unknown or ['momentum']))}, which learned optimizers do not "
            "have; it may set lr, weight_decay and maximize"
        )
    for name in ("lr", "weight_decay"):
        _check_number(name, group[name])
    if not isinstance(group["maximize"], bool):
        raise InputError(f"maximize is {group['maximize']!r}; it must be True or False")
    if any(p.is_complex() for p in group["params"]):
        raise InputError("a parameter is complex; learned optimizers take real numbers, see torch.view_as_real")


def rates(group: Mapping[str, Any]) -> tuple[float, float]:
    """`lr` and `weight_decay`, as they are now.

    Raises:
        InputError: where one is not finite, or the group has the old name of `lr` put in.
    """
    if "scale" in group:
        raise InputError("a parameter group has 'scale' put in; it is called 'lr' since version 0.2.0")
    lr, weight_decay = float(group["lr"]), float(group["weight_decay"])
    if not (math.isfinite(lr) and math.isfinite(weight_decay)):
        raise InputError(f"lr is {lr} and weight_decay {weight_decay}; both must be finite")
    return lr, weight_decay


def _check_number(name: str, value: Any) -> None:
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    try:
        good = not isinstance(number, bool | str) and 0 <= float(number) < math.inf
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(f"{name} is {value!r}; it must be a finite number of at least 0")
