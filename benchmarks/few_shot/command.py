"""Command lines from frozen dataclasses, with presets that show in `--help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.backbones.config import DEFAULT_RESULTS as DEFAULT_BACKBONES
from benchmarks.few_shot.config import RunConfig
from benchmarks.few_shot.presets import PRESETS, preset
from benchmarks.running.record import DEFAULT_RESULTS
from fewshot.errors import InputError, one_of
from fewshot.learners import METHODS

DEFAULT_FEATURES = Path("results/features")


@dataclass(frozen=True)
class Command(RunConfig):
    """Meta-train a few-shot learner, test it on fixed episodes, record everything, and print its table.

    The same command again continues an interrupted run, or shows the finished one. Defaults below are those of the
    preset for the given method, dataset, way and shot.
    """

    preset: str = "auto"
    """Defaults of everything else: paper, authors_code, quick, or auto (quick for glyphs and omniglot, else paper)."""
    seeds: tuple[int, ...] = (0,)
    """One run each."""
    results: Path = DEFAULT_RESULTS
    """Where runs are written."""
    data: Path = Path("data")
    """Where prepared datasets lie ($FEWSHOT_DATA overrides the default)."""
    backbones: Path = DEFAULT_BACKBONES
    """Where `benchmarks.pretrain` leaves backbones; conv4_64 for glyphs and omniglot is trained there on first use."""
    features: Path = DEFAULT_FEATURES
    """Where features of backbones are kept."""
    force: bool = False
    """Use a backbone that has seen classes which the dataset holds out."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    fresh: bool = False
    """Discard what an earlier run of the same command left, and start over."""
    quiet: bool = False
    """No progress bars."""
    manifest: Path | None = None
    """Also write the test episodes, with the file name of every image, to this JSON file."""
    checkpoint_seconds: float = 30.0
    """Time between checkpoints; a killed run loses at most the work since the last one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seeds or min(self.seeds) < 0:
            raise InputError(f"seeds are {self.seeds}; give one or more whole numbers of at least 0")
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds {self.seeds} repeat; a seed is one run")

    @property
    def config(self) -> RunConfig:
        """What identifies the runs, without how they are carried out."""
        return RunConfig(**{f.name: getattr(self, f.name) for f in fields(RunConfig)})

    def folder(self, seed: int) -> Path:
        """Where the run of a seed is recorded."""
        return self.results / self.config.run_name() / f"seed{seed}"


def parse(arguments: Sequence[str] | None, data: Path) -> Command:
    """Parse a command line of `benchmarks.run`.

    Args:
        arguments: without the program's name; None reads `sys.argv`.
        data: default of `--data`.

    Raises:
        InputError: for an unknown method, preset or regularizer, or a value out of range.
    """
    arguments = _expand(sys.argv[1:] if arguments is None else arguments)
    base, name = _selection(arguments)
    if base.regularizer == "none" and any(a.startswith("--penalty.") for a in arguments):
        raise InputError("--penalty options have no effect without a regularizer; add --smooth or --regularizer NAME")
    defaults = preset(name, base)
    default = Command(**{f.name: getattr(defaults, f.name) for f in fields(defaults)}, preset=name, data=data)
    return tyro.cli(
        Command,
        prog="python -m benchmarks.run",
        default=default,
        args=arguments,
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
    )


def _expand(arguments: Sequence[str]) -> list[str]:
    return [word for a in arguments for word in (("--regularizer", "smooth") if a == "--smooth" else (a,))]


def _selection(arguments: Sequence[str]) -> tuple[RunConfig, str]:
    """The options that decide which preset supplies the others, read ahead of the real parser."""
    ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name, kind in (("method", str), ("dataset", str), ("regularizer", str), ("way", int), ("shot", int)):
        ahead.add_argument(f"--{name}", type=kind, default=getattr(RunConfig(), name))
    ahead.add_argument("--preset", default="auto")
    try:
        found = vars(ahead.parse_known_args(list(arguments))[0])
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from None
    name = found.pop("preset")
    one_of("method", found["method"], PRESETS)
    return RunConfig(**found, learner=METHODS[found["method"]].options()), name
