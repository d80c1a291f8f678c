"""The command line of `benchmarks.run`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.backbones.config import DEFAULT_BACKBONES
from benchmarks.few_shot.config import FewShotConfig
from benchmarks.few_shot.presets import preset as with_preset
from benchmarks.running.command import CommandLine, MetaTrainingExecution
from fewshot.learners import METHODS
from fewshot.regularizers import REGULARIZERS

DEFAULT_FEATURES = Path("results/features")


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

    def __post_init__(self) -> None:
        FewShotConfig.__post_init__(self)
        MetaTrainingExecution.__post_init__(self)


def _defaults(*, preset: str = "auto", **selected: Any) -> FewShotCommand:
    base = with_preset(preset, FewShotConfig(**selected))
    return FewShotCommand(**{f.name: getattr(base, f.name) for f in fields(FewShotConfig)}, preset=preset)


COMMAND_LINE = CommandLine(
    program="benchmarks.run",
    command=FewShotCommand,
    ahead=("method", "dataset", "regularizer", "way", "shot", "preset"),
    defaults=_defaults,
    names={
        "method": ("Learner", METHODS),
        "regularizer": ("Of the neural optimizer; --smooth is short for --regularizer smooth", REGULARIZERS),
    },
    hints={"penalty.": "no such option without a regularizer that has it; add --smooth or --regularizer NAME"},
    short={"--smooth": ("--regularizer", "smooth")},
)
parse = COMMAND_LINE.parse
