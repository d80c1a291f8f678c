"""What identifies a few-shot run: one frozen dataclass that is defaults, help, command line and record."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any

import tyro

from benchmarks.running.identity import config_sha256, plain_data
from fewshot.engine.few_shot import TrainingOptions
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.nets.precision import Precision
from fewshot.optimizers.coordinatewise import OMITTED_DEFAULT
from fewshot.regularizers import REGULARIZERS


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


@dataclass(frozen=True)
class Transfer:
    """Where the weights of a learner that is only tested come from."""

    weights: str
    """SHA-256 of the learner's weights."""
    learner_name: str
    """Of its file: best or last."""
    dataset: str
    """It was meta-trained on, as `way` and `shot` are of its episodes."""
    way: int
    shot: int
    config_sha256: str
    """Of its meta-training."""
    seed: int


@dataclass(frozen=True)
class FewShotConfig:
    """A few-shot run, up to its seed.

    Where `penalty` and `learner` are None they become the defaults of what the regularizer and the method declare.
    """

    method: str = "meta_lstm"
    dataset: str = "glyphs"
    """glyphs is embedded; prepare others with `python -m data_prep.NAME`."""
    way: int = 5
    """Classes per episode (N)."""
    shot: int = 1
    """Support images per class (K)."""
    query: int = 15
    """Query images per class."""
    regularizer: str = "none"
    normalize: bool = False
    """Normalize images with the dataset's published mean and deviation, instead of leaving them in [0, 1]."""
    penalty: Any = None
    """Options of the regularizer."""
    learner: Any = None
    """Options of the method."""
    training: TrainingOptions = field(default_factory=TrainingOptions)
    test: TestOptions = field(default_factory=TestOptions)
    precision: Precision = field(default="fp32", metadata=OMITTED_DEFAULT)
    """Of the learner's network: float32, or convolutions and products in bfloat16; the rest is float32."""
    transfer: Annotated[Transfer | None, tyro.conf.Suppress] = field(default=None, metadata=OMITTED_DEFAULT)

    def __post_init__(self) -> None:
        method, regularizer = METHODS.find(self.method), REGULARIZERS.find(self.regularizer)
        for name, low in (("way", 2), ("shot", 1), ("query", 1)):
            if getattr(self, name) < low:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        for name, kind in (("learner", method.options), ("penalty", regularizer.Options)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, kind())
            elif type(getattr(self, name)) is not kind:
                raise InputError(f"{name} options are {type(getattr(self, name)).__name__}; give {kind.__name__}")
        if self.regularizer != "none" and not method.regularized:
            raise InputError(
                f"method {self.method} has no neural optimizer to regularize; use --regularizer none, or one of"
                f" the methods {', '.join(name for name, m in METHODS.items() if m.regularized)}"
            )
        if self.precision != "fp32" and method.learns_from == "features":
            raise InputError(
                f"precision is {self.precision}, but method {self.method} learns from features and computes no network;"
                " use --precision fp32"
            )
        if method.learns_from == "features" and (self.normalize or self.training.augment):
            raise InputError(
                f"normalize and training.augment have no effect on method {self.method}, which learns from features:"
                " the backbone knows its normalization; augmented features come by --learner.views"
            )

    @property
    def config(self) -> FewShotConfig:
        """What identifies the run, without how it is carried out."""
        return FewShotConfig(**{f.name: getattr(self, f.name) for f in fields(FewShotConfig)})

    def to_dict(self) -> dict[str, Any]:
        """All options as JSON values. A run without a regularizer has no penalty options."""
        options = plain_data(self.config)
        # a learner that is only tested is not trained here
        options |= {"training": None} if self.transfer is not None else {}
        return options if self.regularizer != "none" else {**options, "penalty": None}

    def sha256(self) -> str:
        """Identity of the configuration: hash of `to_dict` as canonical JSON."""
        return config_sha256(self.to_dict())

    def run_name(self) -> str:
        """Folder of the run's seeds under the results folder, unique to the configuration."""
        words = (self.method, self.regularizer, self.dataset, f"{self.way}way", f"{self.shot}shot", self.sha256()[:10])
        return "-".join(words)

    def plain(self) -> FewShotConfig:
        """The same without a regularizer: the partner of a paired comparison."""
        return replace(self.config, regularizer="none", penalty=None)
