"""What identifies a few-shot run: one frozen dataclass that is defaults, help, command line and record."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any

import tyro

from benchmarks.running.record import config_sha256
from fewshot.engine.few_shot import TrainingOptions
from fewshot.errors import InputError, one_of
from fewshot.learners import METHODS
from fewshot.learners.maml import MAMLOptions
from fewshot.learners.meta_lstm import MetaLSTMOptions
from fewshot.learners.protonet import ProtoNetOptions
from fewshot.learners.sib import SIBOptions
from fewshot.regularizers import REGULARIZERS, PenaltyOptions


@dataclass(frozen=True)
class TestOptions:
    """Options of the final evaluation; everything compared in one table shares them."""

    __test__ = False  # not for pytest

    episodes: int = 600
    """Test episodes."""
    seed: int = 0
    """Decides the test episodes, and the validation episodes too; independent of the run's seed."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise InputError(f"test.episodes is {self.episodes}; it must be at least 1")


LearnerOptions = MetaLSTMOptions | SIBOptions | ProtoNetOptions | MAMLOptions
_METHOD_HELP = f"Learner: {', '.join(METHODS)}."
_REGULARIZER_HELP = (
    f"Of the neural optimizer: {', '.join(REGULARIZERS)}. `--smooth` is short for `--regularizer smooth`."
)


@dataclass(frozen=True)
class RunConfig:
    """A few-shot experiment, up to its seed."""

    method: Annotated[str, tyro.conf.arg(help=_METHOD_HELP)] = "meta_lstm"
    dataset: str = "glyphs"
    """glyphs is embedded; prepare others with `python -m data_prep.NAME`."""
    way: int = 5
    """Classes per episode (N)."""
    shot: int = 1
    """Support images per class (K)."""
    query: int = 15
    """Query images per class."""
    regularizer: Annotated[str, tyro.conf.arg(help=_REGULARIZER_HELP)] = "none"
    normalize: bool = False
    """Normalize images with the dataset's published mean and deviation, instead of leaving them in [0, 1]."""
    penalty: PenaltyOptions = field(default_factory=PenaltyOptions)
    learner: LearnerOptions = field(default_factory=MetaLSTMOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    test: TestOptions = field(default_factory=TestOptions)

    def __post_init__(self) -> None:
        one_of("method", self.method, METHODS)
        one_of("regularizer", self.regularizer, REGULARIZERS)
        method = METHODS[self.method]
        if type(self.learner) is not method.options:
            raise InputError(
                f"learner options are {type(self.learner).__name__}, method {self.method} has"
                f" {method.options.__name__}; give those"
            )
        if self.regularizer != "none" and not method.regularized:
            raise InputError(
                f"method {self.method} has no neural optimizer to regularize; use --regularizer none, or one of"
                f" the methods {', '.join(name for name, m in METHODS.items() if m.regularized)}"
            )
        if method.learns_from == "features" and (self.normalize or self.training.augment):
            raise InputError(
                f"normalize and training.augment have no effect on method {self.method}, which learns from features:"
                " the backbone knows its normalization; augmented features come by --learner.views"
            )

    def to_dict(self) -> dict[str, Any]:
        """All options as JSON values. A run without a regularizer has no penalty options."""
        # Through JSON, so that a config compares equal to itself read back from a record.
        options = json.loads(json.dumps({f.name: _plain(getattr(self, f.name)) for f in fields(RunConfig)}))
        return options if self.regularizer != "none" else {**options, "penalty": None}

    def sha256(self) -> str:
        """Identity of the configuration: hash of `to_dict` as canonical JSON."""
        return config_sha256(self.to_dict())

    def run_name(self) -> str:
        """Folder of the run's seeds under the results folder, unique to the configuration."""
        words = (self.method, self.regularizer, self.dataset, f"{self.way}way", f"{self.shot}shot", self.sha256()[:10])
        return "-".join(words)

    def plain(self) -> RunConfig:
        """The same experiment without a regularizer: the partner of a paired comparison."""
        return replace(self, regularizer="none")


def _plain(value: Any) -> Any:
    """Options as a dictionary, without those that say of themselves that their default is left out."""
    if not is_dataclass(value) or isinstance(value, type):
        return value
    silent = {f.name for f in fields(value) if f.metadata.get("omit_default") and getattr(value, f.name) == f.default}
    return {name: each for name, each in asdict(value).items() if name not in silent}
