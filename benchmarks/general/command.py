"""The command line of `benchmarks.optimize`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.general.config import GeneralConfig
from benchmarks.general.presets import preset as with_preset
from benchmarks.running.command import CommandLine, MetaTrainingExecution
from fewshot.errors import InputError
from fewshot.general.hand_designed import HAND_DESIGNED
from fewshot.general.tasks import TASKS
from fewshot.optimizers import LEARNED
from fewshot.regularizers import REGULARIZERS

_DECIDED_BY_EVALUATE = ("optimizer", "regularizer", "preset", "penalty.", "core.", "training.")
_FREE_WITH_EVALUATE = ("training.batch-size",)


@dataclass(frozen=True)
class GeneralCommand(MetaTrainingExecution, GeneralConfig):
    """Meta-train an optimizer of network weights, or choose a hand-designed one's learning rate; test it on fixed
    problems, record everything, and print the table of what was tested on the same ones.

    The same command again continues an interrupted run, or shows the finished one. Defaults below are those of the
    preset for the given optimizer and task.
    """

    preset: str = "auto"
    """Defaults of everything above: paper, quick, what a plug-in adds, or auto (quick for digits and quadratic, else
    paper)."""
    seeds: tuple[int, ...] = (0,)
    """One run each; hand-designed optimizers and --evaluate have seed 0 alone."""
    evaluate: str | None = None
    """Only test this optimizer: best.safetensors in the folder of a finished run, or the name of a shipped one."""

    def __post_init__(self) -> None:
        GeneralConfig.__post_init__(self)
        MetaTrainingExecution.__post_init__(self)
        if self.seeds != (0,) and (not self.learned or self.evaluate is not None):
            what = f"optimizer {self.optimizer} is" if not self.learned else "--evaluate is"
            raise InputError(f"seeds are {self.seeds}, but {what} not meta-trained and has one run; leave --seeds out")
        if self.evaluate is not None:
            decided = [
                name
                for name in sorted(self.given)
                if name.startswith(_DECIDED_BY_EVALUATE) and name not in _FREE_WITH_EVALUATE
            ]
            if decided:
                raise InputError(
                    f"--evaluate {self.evaluate} only tests an optimizer, whose file says what it is; leave"
                    f" {', '.join(f'--{name}' for name in decided)} out"
                )


def _defaults(*, preset: str = "auto", **selected: Any) -> GeneralCommand:
    base = with_preset(preset, GeneralConfig(**selected))
    return GeneralCommand(**{f.name: getattr(base, f.name) for f in fields(GeneralConfig)}, preset=preset)


class _Optimizers:
    def __iter__(self) -> Iterator[str]:
        return itertools.chain(LEARNED, (f"{name} (hand-designed)" for name in HAND_DESIGNED))


COMMAND_LINE = CommandLine(
    program="benchmarks.optimize",
    command=GeneralCommand,
    ahead=("optimizer", "task", "regularizer", "preset"),
    defaults=_defaults,
    names={
        "optimizer": ("Learned or hand-designed optimizer", _Optimizers()),
        "task": ("Network and data, those on digits need no download", TASKS),
        "regularizer": ("Of a learned optimizer; --smooth is short for --regularizer smooth", REGULARIZERS),
    },
    hints={
        "penalty.": "no such option without a regularizer that has it; add --smooth or --regularizer NAME",
        "core.": "no such option of this optimizer; see --help with the same --optimizer",
    },
    short={"--smooth": ("--regularizer", "smooth"), "--steps": ("--test.steps",)},
)
parse = COMMAND_LINE.parse
