"""What identifies a run of the general track: one frozen dataclass that is defaults, help, command line and record."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import tyro

from benchmarks.running.identity import config_sha256, plain_data
from fewshot.engine.general import UnrollOptions
from fewshot.errors import InputError, one_of
from fewshot.general.hand_designed import HAND_DESIGNED, GridOptions
from fewshot.general.tasks import TASKS
from fewshot.nets.precision import Precision
from fewshot.optimizers import LEARNED
from fewshot.optimizers.coordinatewise import OMITTED_DEFAULT
from fewshot.regularizers import REGULARIZERS


@dataclass(frozen=True)
class CurveOptions:
    """Options of the final test; everything compared in one table shares them."""

    steps: int = 200
    """Steps of training; the learning rate of hand-designed optimizers is chosen for this horizon. `--steps` is short
    for `--test.steps`."""
    initializations: int = 25
    """Trainings from fresh weights, side by side."""
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
class GeneralConfig:
    """A run of the general track, up to its seed.

    Where `penalty`, `core` and `training` are None they become the defaults of what was chosen.
    """

    optimizer: str = "simple"
    task: str = "digits_mlp"
    regularizer: str = "none"
    penalty: Any = None
    """Options of the regularizer."""
    core: Any = None
    """Options of a learned optimizer."""
    training: UnrollOptions | GridOptions | None = None
    """Of meta-training, or of the choice of a hand-designed optimizer's rate."""
    test: CurveOptions = field(default_factory=CurveOptions)
    transfer: Annotated[Transfer | None, tyro.conf.Suppress] = None
    precision: Precision = field(default="fp32", metadata=OMITTED_DEFAULT)
    """Of the networks that are trained: float32, or convolutions and products in bfloat16; the rest is float32."""

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, [*LEARNED, *HAND_DESIGNED])
        TASKS.find(self.task)
        if self.transfer is not None:  # nothing is meta-trained: the regularizer is a name, and need not be known here
            return
        regularizer = REGULARIZERS.find(self.regularizer)
        if not self.learned and self.regularizer != "none":
            raise InputError(
                f"regularizer {self.regularizer!r} has no effect on {self.optimizer}, which is not learned;"
                " leave it out"
            )
        core = LEARNED[self.optimizer].Options if self.learned else None
        training = UnrollOptions if self.learned else GridOptions
        for name, kind in (("penalty", regularizer.Options), ("core", core), ("training", training)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, kind and kind())
            elif kind is None or type(getattr(self, name)) is not kind:
                wanted = kind.__name__ if kind else "none"
                raise InputError(f"{name} options are {type(getattr(self, name)).__name__}; give {wanted}")

    @property
    def learned(self) -> bool:
        """Whether the optimizer is meta-trained."""
        return self.optimizer in LEARNED

    @property
    def batch_size(self) -> int:
        """Examples per step, in training and test alike."""
        assert self.training is not None
        return self.training.batch_size

    @property
    def config(self) -> GeneralConfig:
        """What identifies the run, without how it is carried out."""
        return GeneralConfig(**{f.name: getattr(self, f.name) for f in fields(GeneralConfig)})

    def to_dict(self) -> dict[str, Any]:
        """All options as JSON values; null where there is nothing to choose."""
        options = plain_data(self.config)
        options |= {} if self.regularizer != "none" else {"penalty": None}
        # an optimizer that is only tested is not trained here: nothing else of these options counts
        options |= {"training": {"batch_size": self.batch_size}} if self.transfer is not None else {}
        return options

    def sha256(self) -> str:
        """Identity of the configuration: hash of `to_dict` as canonical JSON."""
        return config_sha256(self.to_dict())

    def run_name(self) -> str:
        """Folder of the run's seeds under the results folder, unique to the configuration."""
        return "-".join(("general", self.optimizer, self.regularizer, self.task, self.sha256()[:10]))
