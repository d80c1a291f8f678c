"""The command line of `benchmarks.pretrain`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.backbones.config import DEFAULT_BACKBONES, PretrainConfig
from benchmarks.backbones.config import preset as with_preset
from benchmarks.running.command import CommandLine, Execution
from fewshot.nets.backbone import BACKBONES


@dataclass(frozen=True)
class PretrainCommand(Execution, PretrainConfig):
    """Pre-train a backbone on the training classes of a dataset, or import one.

    The same command again continues an interrupted training, or shows the finished one. Defaults below are those of
    the preset for the given dataset.
    """

    preset: str = "auto"
    """Defaults of everything above: paper, quick, what a plug-in adds, or auto (quick for glyphs and omniglot, else
    paper)."""
    seeds: tuple[int, ...] = (0,)
    """One backbone each."""
    results: Path = DEFAULT_BACKBONES
    """Where backbones are written."""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints, beside one after every epoch."""
    import_weights: Path | None = None
    """Train nothing: make a backbone of this state dict, trained elsewhere on the dataset's training classes."""

    def __post_init__(self) -> None:
        PretrainConfig.__post_init__(self)
        Execution.__post_init__(self)


def command_of(config: PretrainConfig, **execution: Any) -> PretrainCommand:
    """A command that pre-trains `config`."""
    return PretrainCommand(**{f.name: getattr(config, f.name) for f in fields(PretrainConfig)}, **execution)


def _defaults(*, preset: str = "auto", **selected: Any) -> PretrainCommand:
    return command_of(with_preset(preset, PretrainConfig(**selected)), preset=preset)


COMMAND_LINE = CommandLine(
    program="benchmarks.pretrain",
    command=PretrainCommand,
    ahead=("dataset", "backbone", "preset"),
    defaults=_defaults,
    names={"backbone": ("Network", BACKBONES)},
    short={"--precision": ("--training.precision",)},
)
parse = COMMAND_LINE.parse
