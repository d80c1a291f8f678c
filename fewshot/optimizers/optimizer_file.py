"""Meta-trained optimizers on disk: weights with a card that says what they are and where they come from.

Those that come with the package lie in `shipped/` and go by the names of their files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.optimizers import LEARNED, create
from fewshot.optimizers.coordinatewise import CoordinatewiseOptimizer
from fewshot.optimizers.stability import plain
from fewshot.weights_file import Kind, first_line, weights_sha256

SHIPPED = Path(__file__).parent / "shipped"
SUFFIX = ".safetensors"
FORMAT = 3
"""Version of the files that are written. 1: without `version` in the card, and without options that came later; 2:
without those of `StabilityOptions`."""
_FILE = Kind("optimizer", "a learned optimizer", "make one with `python -m benchmarks.optimize`")


@dataclass(frozen=True)
class OptimizerCard:
    """What a file of a learned optimizer is."""

    optimizer: str
    """Key of `LEARNED`."""
    task: str
    """What it was meta-trained on."""
    command: str
    """That makes it again."""
    seed: int
    """Of its meta-training."""
    regularizer: str = "none"
    """Key of `REGULARIZERS`."""
    penalty: Mapping[str, Any] = field(default_factory=dict)
    """Options of the regularizer."""
    validation: Mapping[str, float] = field(default_factory=dict)
    """What it reached on the validation split, by name: {"loss": …, "steps": …}."""
    description: str = ""
    """In words."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the optimizer; filled in by `save_optimizer`."""
    sha256: str = ""
    """Of the weights: names, types, shapes and values; filled in by `save_optimizer`."""
    version: int = 1
    """Of the file's format, `FORMAT`; filled in by `save_optimizer`."""

    @classmethod
    def from_json(cls, text: str) -> OptimizerCard:
        """Read what `to_json` wrote; a ValueError or TypeError says why it cannot be that."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("not a dictionary")
        version = values.get("version", 1)
        if isinstance(version, int) and version > FORMAT:
            raise ValueError(f"its format {version} is newer than {FORMAT}, the last one known here: update fewshot")
        card = cls(**values)
        kinds = {"seed": int, "version": int, "penalty": dict, "validation": dict, "options": dict}
        for each in dataclasses.fields(cls):
            if not isinstance(getattr(card, each.name), kinds.get(each.name, str)):
                raise TypeError(f"{each.name} has the wrong type")
        return card

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


def save_optimizer(path: Path, core: CoordinatewiseOptimizer, card: OptimizerCard) -> OptimizerCard:
    """Write an optimizer and its card, completely or not at all.

    Reparametrized weights are written as what they amount to: the file holds a plain core with the same updates.

    Args:
        path: the file to write.
        core: an instance of `LEARNED[card.optimizer]`; it stays as it is.
        card: its `options`, `sha256` and `version` are filled in here.

    Returns:
        The card as it was written.

    Raises:
        InputError: where the file cannot be written, or a weight is not finite.
    """
    if not isinstance(plain(core), LEARNED[card.optimizer]):
        raise TypeError(f"{type(plain(core)).__name__} is not the optimizer {card.optimizer!r}")
    weights = {name: w.detach().float().cpu().contiguous() for name, w in core.effective_weights().items()}
    if not all(w.isfinite().all() for w in weights.values()):
        raise InputError(f"the optimizer for {path} has weights that are not finite; its meta-training diverged")
    options = json.loads(json.dumps(dataclasses.asdict(core.options)))
    card = dataclasses.replace(card, options=options, sha256=weights_sha256(weights), version=FORMAT)
    _FILE.write(path, weights, card.to_json())
    return card


def load_optimizer(
    path_or_name: Path | str, device: torch.device | str = "cpu"
) -> tuple[CoordinatewiseOptimizer, OptimizerCard]:
    """Read an optimizer, frozen and in eval mode, on `device`.

    Args:
        path_or_name: a file that `save_optimizer` wrote, or the name of a shipped optimizer.
        device: where its weights go.

    Raises:
        InputError: where there is no such name or file, or the file is damaged or something else.
    """
    path = _locate(path_or_name)
    header, weights = _FILE.read(path)
    card = _card(path, header)
    if weights_sha256(weights) != card.sha256:
        raise InputError(f"{path} is damaged: its weights have another hash than its card says; {_FILE.remedy}")
    core = _empty(path, card)
    _fill(path, core, weights)
    return core.to(device).eval().requires_grad_(False), card


def read_card(path_or_name: Path | str) -> OptimizerCard:
    """What a file says it is; its weights are not read. Errors as `load_optimizer`."""
    path = _locate(path_or_name)
    return _card(path, _FILE.read_header(path))


def shipped() -> dict[str, Path]:
    """The optimizers that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*" + SUFFIX))}


def _locate(path_or_name: Path | str) -> Path:
    """The file meant by a name or path: whatever ends in .safetensors or lies in a folder is a path."""
    path = Path(path_or_name)
    if isinstance(path_or_name, Path) or path.suffix == SUFFIX or len(path.parts) > 1:
        return path
    known = shipped()
    if path_or_name not in known:
        names = ", ".join(known) or "(none comes with this version)"
        raise InputError(
            f"unknown learned optimizer {path_or_name!r}; choose one of: {names}; or give the path of a {SUFFIX} file "
            "that `python -m benchmarks.optimize` made"
        )
    return known[path_or_name]


def _card(path: Path, header: str) -> OptimizerCard:
    try:
        card = OptimizerCard.from_json(header)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} has no readable card ({first_line(error)}); {_FILE.remedy}") from error
    if card.optimizer not in LEARNED:
        raise InputError(f"{path} holds an unknown optimizer {card.optimizer!r:.60}; known are: {', '.join(LEARNED)}")
    return card


def _empty(path: Path, card: OptimizerCard) -> CoordinatewiseOptimizer:
    """A core of the card's options; its weights are yet to be filled in."""
    kind = LEARNED[card.optimizer]
    try:
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in card.options.items()}
        if not all(isinstance(v, int | float | str | bool | tuple) for v in values.values()):
            raise TypeError("a value is neither number nor text")
        with torch.device("cpu"):  # whatever the default device is
            return create(kind, torch.Generator("cpu").manual_seed(0), kind.Options(**values)).float()
    except (TypeError, ValueError, InputError) as error:
        raise InputError(f"{path} has options that do not fit ({first_line(error)}); {_FILE.remedy}") from error


def _fill(path: Path, core: CoordinatewiseOptimizer, weights: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        if weight.dtype != torch.float32 or not weight.isfinite().all():
            raise InputError(f"{path} has a weight {name!r:.60} that is not finite float32; {_FILE.remedy}")
    try:
        core.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InputError(f"{path} does not hold what its card says ({first_line(error)}); {_FILE.remedy}") from error
