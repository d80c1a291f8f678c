"""What identifies a run of the general track: one frozen dataclass that is defaults, help, command line and record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Union

import torch
import tyro

from benchmarks.few_shot.config import _plain, config_sha256
from fewshot.engine.general import UnrollOptions
from fewshot.errors import InputError, one_of
from fewshot.general.hand_designed import HAND_DESIGNED, GridOptions
from fewshot.general.tasks import TASKS
from fewshot.optimizers import LEARNED
from fewshot.regularizers import REGULARIZERS, PenaltyOptions

OPTIMIZERS = (*LEARNED, *HAND_DESIGNED)
if TYPE_CHECKING:
    CoreOptions = Any
else:
    CoreOptions = Union[(*(core.Options for core in LEARNED.values()), type(None))]

_OPTIMIZER_HELP = f"Meta-trained: {', '.join(LEARNED)}; hand-designed: {', '.join(HAND_DESIGNED)}."
_TASK_HELP = f"Network and data: {', '.join(TASKS)}. those on digits need no download."
_REGULARIZER_HELP = (
    f"Of a learned optimizer: {', '.join(REGULARIZERS)}. `--smooth` is short for `--regularizer smooth`."
)


@dataclass(frozen=True)
class CurveOptions:
    """Options of the final test; everything compared in one table shares them."""

    steps: int = 200
    """Steps of training; the learning rate of hand-designed optimizers is chosen for this horizon."""
    initializations: int = 5
    """Trainings from fresh weights."""
    seed: int = 0
    """Decides test and validation problems; independent of the run's seed."""
    points: int = 21
    """Steps at which curves are taken, evenly spread, both ends among them."""

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("initializations", 1), ("points", 2)):
            if getattr(self, name) < low:
                raise InputError(f"test.{name} is {getattr(self, name)}; it must be at least {low}")


@dataclass(frozen=True)
class Transfer:
    """Where the weights of an optimizer that is only tested come from."""

    weights: str
    """SHA-256 of the optimizer's weights."""
    optimizer_name: str
    task: str | None
    """It was meta-trained on."""
    config_sha256: str | None
    """Of its meta-training."""
    seed: int | None


@dataclass(frozen=True)
class OptimizeConfig:
    """An experiment of the general track, up to its seed."""

    optimizer: Annotated[str, tyro.conf.arg(help=_OPTIMIZER_HELP)] = "simple"
    task: Annotated[str, tyro.conf.arg(help=_TASK_HELP)] = "digits_mlp"
    regularizer: Annotated[str, tyro.conf.arg(help=_REGULARIZER_HELP)] = "none"
    penalty: PenaltyOptions = field(default_factory=PenaltyOptions)
    core: CoreOptions = None
    training: UnrollOptions | GridOptions = field(default_factory=UnrollOptions)
    test: CurveOptions = field(default_factory=CurveOptions)
    transfer: Annotated[Transfer | None, tyro.conf.Suppress] = None

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("task", self.task, TASKS)
        one_of("regularizer", self.regularizer, REGULARIZERS)
        if not self.learned and self.regularizer != "none":
            raise InputError(
                f"regularizer {self.regularizer!r} has no effect on {self.optimizer}, which is not learned;"
                " leave it out"
            )

    @property
    def learned(self) -> bool:
        """Whether the optimizer is meta-trained."""
        return self.optimizer in LEARNED

    def to_dict(self) -> dict[str, Any]:
        """All options as JSON values; null where there is nothing to choose."""
        options = {f.name: _plain(getattr(self, f.name)) for f in fields(OptimizeConfig)}
        options |= {} if self.regularizer != "none" else {"penalty": None}
        # an optimizer that is only tested is not trained here: nothing else of these options counts
        options |= {"training": {"batch_size": self.training.batch_size}} if self.transfer is not None else {}
        return json.loads(json.dumps(options))

    def sha256(self) -> str:
        """Identity of the configuration: hash of `to_dict` as canonical JSON."""
        return config_sha256(self.to_dict())

    def run_name(self) -> str:
        """Folder of the run's seeds under the results folder, unique to the configuration."""
        return "-".join(("general", self.optimizer, self.regularizer, self.task, self.sha256()[:10]))


def paper(base: OptimizeConfig) -> OptimizeConfig:
    """The paper's settings, and its code's where it gives none.

    Smoothing finds its maximum at the ends of the interval where a state has one column, which is as large as PGD's
    and cheaper; λ and ε are the authors' code's.
    """
    if not base.learned:
        return replace(base, training=GridOptions())
    core = LEARNED[base.optimizer](torch.Generator())
    penalty = PenaltyOptions(maximum="endpoints" if core.state_size == 1 else "auto")
    return replace(base, penalty=penalty, core=core.options, training=UnrollOptions())


QUICK_WEIGHTS = {"smooth": 1000.0, "l2": 1e-2, "orthogonal": 1e-2}
"""λ of the quick preset: the best on digits_mlp's validation problems of a few orders of magnitude, one seed each."""


def quick(base: OptimizeConfig) -> OptimizeConfig:
    """For networks of a few thousand weights on two CPU cores: a minute or two."""
    base = paper(base)
    if not base.learned:
        return replace(base, training=GridOptions(validation_problems=3))
    penalty = replace(base.penalty, weight=QUICK_WEIGHTS.get(base.regularizer, base.penalty.weight))
    training = UnrollOptions(unrolls=40, meta_rate=1e-3, meta_decay="cosine", judged_on="next", validate_every=5)
    return replace(base, penalty=penalty, training=training)


PRESETS: dict[str, Callable[[OptimizeConfig], OptimizeConfig]] = {"paper": paper, "quick": quick}


def preset(name: str, base: OptimizeConfig) -> OptimizeConfig:
    """`base` with the settings of preset `name`; "auto" is quick for the small tasks, else paper.

    Raises:
        InputError: for an unknown name.
    """
    one_of("preset", name, ["auto", *PRESETS])
    return PRESETS[name if name != "auto" else "quick" if TASKS[base.task].quick else "paper"](base)
