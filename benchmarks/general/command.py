"""The command line of `benchmarks.optimize`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.few_shot.command import DEFAULT_RESULTS, _expand
from benchmarks.general.config import OptimizeConfig, preset
from benchmarks.general.transfer import read_optimizer
from fewshot.errors import InputError
from fewshot.optimizers import CoordinatewiseOptimizer


@dataclass(frozen=True)
class OptimizeCommand(OptimizeConfig):
    """Meta-train an optimizer of network weights, or choose a hand-designed one's learning rate; test it on fixed
    problems, record everything, and print the table of what was tested on the same ones.

    The same command again continues an interrupted run, or shows the finished one. Defaults below are those of the
    preset for the given optimizer and task.
    """

    preset: str = "auto"
    """Defaults of everything else: paper, quick, or auto (quick for digits and quadratic, else paper)."""
    evaluate: str | None = None
    """Only test this optimizer: best.safetensors in the folder of a finished run, or the name of a shipped one."""
    steps: int | None = None
    """Short for `--test.steps`."""
    seeds: tuple[int, ...] = (0,)
    """One run each; hand-designed optimizers and `--evaluate` have seed 0 alone."""
    results: Path = DEFAULT_RESULTS
    """Where runs are written."""
    data: Path = Path("data")
    """Where prepared datasets lie ($FEWSHOT_DATA overrides the default)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    fresh: bool = False
    """Discard what an earlier run of the same command left, and start over."""
    quiet: bool = False
    """No progress bars."""
    checkpoint_seconds: float = 30.0
    """Time between checkpoints; a killed run loses at most the work since the last one."""
    words: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """The command line, for the card of the optimizer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seeds or min(self.seeds) < 0:
            raise InputError(f"seeds are {self.seeds}; give one or more whole numbers of at least 0")
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds {self.seeds} repeat; a seed is one run")
        if self.seeds != (0,) and (not self.learned or self.evaluate is not None):
            what = f"optimizer {self.optimizer} is" if not self.learned else "--evaluate is"
            raise InputError(f"seeds are {self.seeds}, but {what} not meta-trained and has one run; leave --seeds out")

        if self.evaluate is not None and (not self.learned or self.regularizer != "none"):
            raise InputError(
                f"--evaluate {self.evaluate} already says which optimizer and regularizer; leave "
                f"{'--regularizer' if self.learned else '--optimizer'} out"
            )

    @property
    def config(self) -> OptimizeConfig:
        """What identifies the runs, without how they are carried out."""
        config = OptimizeConfig(**{f.name: getattr(self, f.name) for f in fields(OptimizeConfig)})
        return config if self.steps is None else replace(config, test=replace(config.test, steps=self.steps))

    def resolved(self) -> tuple[OptimizeConfig, CoordinatewiseOptimizer | None]:
        """What identifies the runs, and the optimizer to evaluate, which decides a part of that; None without one.

        Raises:
            InputError: where the optimizer to be evaluated cannot be read.
        """
        return (self.config, None) if self.evaluate is None else read_optimizer(self.evaluate, self.config)


def run_folder(results: Path, config: OptimizeConfig, seed: int) -> Path:
    """Where the run of a configuration and a seed is recorded."""
    return results / config.run_name() / f"seed{seed}"


def parse(arguments: Sequence[str] | None, data: Path) -> OptimizeCommand:
    """Parse a command line of `benchmarks.optimize`.

    Args:
        arguments: without the program's name; None reads `sys.argv`.
        data: default of `--data`.

    Raises:
        InputError: for an unknown optimizer, task, preset or regularizer, or a value out of range.
    """
    arguments = _expand(sys.argv[1:] if arguments is None else arguments)
    base, name = _selection(arguments)
    if base.regularizer == "none" and any(a.startswith("--penalty.") for a in arguments):
        raise InputError("--penalty options have no effect without a regularizer; add --smooth or --regularizer NAME")
    defaults = preset(name, base)
    default = OptimizeCommand(**{f.name: getattr(defaults, f.name) for f in fields(defaults)}, preset=name, data=data)
    command = tyro.cli(
        OptimizeCommand,
        prog="python -m benchmarks.optimize",
        default=default,
        args=arguments,
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
    )
    return replace(command, words=tuple(arguments))


def _selection(arguments: Sequence[str]) -> tuple[OptimizeConfig, str]:
    """The options that decide which preset supplies the others, read ahead of the real parser."""
    ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("optimizer", "task", "regularizer"):
        ahead.add_argument(f"--{name}", default=getattr(OptimizeConfig(), name))
    ahead.add_argument("--preset", default="auto")
    try:
        found = vars(ahead.parse_known_args(list(arguments))[0])
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from None
    name = found.pop("preset")
    return replace(OptimizeConfig(), **found), name
