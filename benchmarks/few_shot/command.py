"""The command line of `benchmarks.run`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.backbones.config import DEFAULT_BACKBONES
from benchmarks.few_shot.config import FewShotConfig
from benchmarks.few_shot.presets import preset as with_preset
from benchmarks.running.command import CommandLine, MetaTrainingExecution
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.learners.file import read_learner_card
from fewshot.regularizers import REGULARIZERS

DEFAULT_FEATURES = Path("results/features")
_FREE_WITH_EVALUATE = ("dataset", "way", "shot", "query")
_DECIDED_BY_EVALUATE = ("method", "regularizer", "preset", "normalize", "penalty.", "learner.", "training.")


@dataclass(frozen=True)
class FewShotCommand(MetaTrainingExecution, FewShotConfig):
    """Meta-train a few-shot learner, test it on fixed episodes, record everything, and print its table.

    The same command again continues an interrupted run, or shows the finished one. Defaults below are those of the
    preset for the given method, dataset, way and shot.
    """

    preset: str = "auto"
    """Defaults of everything above: paper, authors_code, quick, what a plug-in adds, defaults (of the method), or auto
    (quick for glyphs and omniglot, else paper)."""
    backbones: Path = DEFAULT_BACKBONES
    """Where `benchmarks.pretrain` leaves backbones; conv4_64 for glyphs and omniglot is trained there on first use."""
    features: Path = DEFAULT_FEATURES
    """Where features of backbones are kept."""
    force: bool = False
    """Use a backbone that has seen classes which the dataset holds out."""
    manifest: Path | None = None
    """Also write the test episodes, with the file name of every image, to this JSON file."""
    evaluate: str | None = None
    """Only test this learner, best.safetensors in the folder of a finished run, on whatever dataset, shot and query."""

    def __post_init__(self) -> None:
        FewShotConfig.__post_init__(self)
        MetaTrainingExecution.__post_init__(self)
        if self.evaluate is None:
            return
        _refuse_decided(self.evaluate, self.given)
        if self.seeds != (0,):
            raise InputError(f"seeds are {self.seeds}, but --evaluate has one run; leave --seeds out")
        if self.validate_only:
            raise InputError(
                "--validate-only is about meta-training, of which --evaluate has none; leave one of them out"
            )


def _refuse_decided(evaluate: str, given: Iterable[str]) -> None:
    if decided := [name for name in sorted(given) if name.startswith(_DECIDED_BY_EVALUATE)]:
        raise InputError(
            f"--evaluate {evaluate} only tests a learner, whose file says what it is; leave"
            f" {', '.join(f'--{name}' for name in decided)} out"
        )


def _defaults(*, preset: str = "auto", evaluate: str | None = None, **selected: Any) -> FewShotCommand:
    if evaluate is None:
        base = with_preset(preset, FewShotConfig(**selected))
    else:
        _refuse_decided(evaluate, (*selected, *(["preset"] if preset != "auto" else [])))
        card = read_learner_card(Path(evaluate))
        of_card = {name: getattr(card, name) for name in ("method", "regularizer", *_FREE_WITH_EVALUATE)}
        base = FewShotConfig(**of_card | selected)
        base = replace(base, test=with_preset("auto", base).test)
    values = {f.name: getattr(base, f.name) for f in fields(FewShotConfig)}
    return FewShotCommand(**values, preset=preset, evaluate=evaluate)


COMMAND_LINE = CommandLine(
    program="benchmarks.run",
    command=FewShotCommand,
    ahead=("method", "dataset", "regularizer", "way", "shot", "preset", "evaluate"),
    defaults=_defaults,
    names={
        "method": ("Learner", METHODS),
        "regularizer": ("Of the neural optimizer; --smooth is short for --regularizer smooth", REGULARIZERS),
    },
    hints={"penalty.": "no such option without a regularizer that has it; add --smooth or --regularizer NAME"},
    short={"--smooth": ("--regularizer", "smooth")},
)
parse = COMMAND_LINE.parse
