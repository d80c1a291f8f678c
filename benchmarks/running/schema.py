"""What a record says, part by part. Facts are at hand; results and details are read when somebody asks for them.

Facts say what was run, on what, and how it ended. Results are the value on every single test problem. Details are
curves, which only figures look at. What changes from one execution of a command to the next is `Measured`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np

from fewshot.registry import Plugin

EARLY = 1.1
"""Last over best validation loss beyond which the best optimizer of a meta-training is an early one, met by luck."""


def is_early(best: float, last: float) -> bool:
    """Whether an optimizer with the loss `best` on validation is an early one, with `last` at the end: infinite where
    that diverged."""
    return last > EARLY * best


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Base of all parts: immutable, keyword-only, and no member that is not declared."""


Point = Mapping[str, float | None]
"""One point of a curve: numbers by name; None where a number was not finite and its absence means something."""


class Measured(Part, frozen=True):
    """What the same command does not always yield; outside the digest."""

    train_seconds: float = 0.0
    """Of meta-training or pre-training, validation included, or of the choice of a learning rate."""
    test_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    """Resident memory of the process; None where the system does not tell."""
    interruptions: int = 0
    finished: str = ""
    """Date and time in UTC, ISO 8601."""


class Environment(Part, frozen=True):
    """What a run was computed with."""

    versions: dict[str, str]
    commit: str | None
    device: str
    threads: int
    plugins: tuple[Plugin, ...] = ()
    """Plug-ins that brought something which the run used."""
    processor: str = ""
    """Its name; "" in older records."""


class DatasetFacts(Part, frozen=True, omit_defaults=True):
    """A prepared dataset."""

    name: str
    fingerprint: str
    pixels: str = ""
    """What its images are beside the published ones: `original`, `resized`, `re-encoded`; "" where that is unknown."""


class BackboneFacts(Part, frozen=True):
    """A frozen backbone."""

    name: str
    sha256: str
    dataset: str
    origin: str


class ManifestFacts(Part, frozen=True):
    """Which episodes: everything that decides them, and the SHA-256 of their images' indices."""

    dataset: str
    fingerprint: str
    split: str
    way: int
    shot: int
    query: int
    seed: int
    count: int
    sha256: str


class ProtocolFacts(Part, frozen=True):
    """Which test problems of the general track: everything that decides them, and its SHA-256."""

    task: str
    dataset: str
    fingerprint: str
    steps: int
    initializations: int
    seed: int
    points: int
    batch_size: int
    task_facts: dict[str, Any]
    """What the task says of its network and data."""
    sha256: str
    computation: int = 1
    """Version of the computation (CHANGELOG.md): other versions differ in rounding, and are other tests."""


class TestedEpisodes(Part, frozen=True):
    """A few-shot learner on every test episode."""

    episode: int
    """Of meta-training, after which the learner was taken."""
    correct: list[int]
    """Correct queries of each test episode."""


class FewShotResults(Part, frozen=True):
    """Of the learner that validated best, and of the last one."""

    best: TestedEpisodes
    last: TestedEpisodes


class FewShotDetails(Part, frozen=True):
    """Curves of meta-training over episodes."""

    curve: Sequence[Point]
    validation: Sequence[Point]


class TestRun(Part, frozen=True):
    """One training of a network by the tested optimizer; ends with the last finite point."""

    initialization: int
    """Which of the test's initial weights, from 0."""
    diverged_at: int | None
    """The first step whose loss or weights were not finite, 0 before the first update; None: there was none."""
    step: list[int]
    """Of each point, updates done; the lists below have a number for each."""
    train_loss: list[float]
    test_loss: list[float]
    train_accuracy: list[float] | None
    test_accuracy: list[float] | None


class TestedOptimizer(Part, frozen=True):
    """An optimizer on every test problem."""

    unroll: int
    """Of meta-training, after which the optimizer was taken; 0 where it was not meta-trained here."""
    runs: list[TestRun]


class GeneralResults(Part, frozen=True):
    """Of the optimizer that validated best, and of the last one."""

    best: TestedOptimizer
    last: TestedOptimizer


class GridPoint(Part, frozen=True):
    """A learning rate and its mean validation loss; None where a problem diverged."""

    rate: float
    validation_loss: float | None


class ZeroStateUpdates(Part, frozen=True):
    """Updates for states drawn around zero (Figure 7), in the order drawn, and the largest slope there."""

    state: list[float]
    update: list[float]
    lipschitz: float


class RateCurves(Part, frozen=True):
    """Losses on the test problems with every rate of a grid: what an envelope is made of."""

    rates: list[float]
    step: list[int]
    test_loss: list[list[list[float | None]]]
    """[rates, problems, points]; None from where a training diverged."""

    def losses(self) -> np.ndarray:
        """[rates, problems, points], NaN where there is none: as `crossed.speedup.envelope` takes them."""
        return np.array(self.test_loss, dtype=np.float64)


class GeneralDetails(Part, frozen=True):
    """Curves of meta-training over unrolls, the grid of learning rates, updates around zero."""

    curve: Sequence[Point] = []
    imitation: Sequence[Point] = []
    validation: Sequence[Point] = []
    stages: list[dict[str, int]] = []
    grid: list[GridPoint] = []
    border: Literal["lowest", "highest"] | None = None
    """The end of the grid at which the chosen rate lies, beyond which there may be a better one."""
    envelope: RateCurves | None = None
    """Of `adam`, which others are compared with."""
    smoothness: ZeroStateUpdates | None = None


class PretrainingDetails(Part, frozen=True):
    """Curves of pre-training over epochs."""

    curve: Sequence[Point]
    validation: Sequence[Point]


class Facts(Part, frozen=True, tag_field="track"):
    """What every record says."""

    Results: ClassVar[Any]
    Details: ClassVar[Any]

    config: dict[str, Any]
    """All options as JSON values."""
    config_sha256: str
    seed: int
    dataset: DatasetFacts
    environment: Environment


class RunFacts(Facts, frozen=True, tag_field="track"):
    """What both tracks say."""

    status: Literal["finished", "failed"]
    failure: str | None
    """Why it failed."""
    meta_parameters: int


class FewShotTraining(Part, frozen=True):
    """How meta-training went."""

    episode: int
    """Episodes done."""
    skipped: int
    """Steps in which something was not finite, so that no parameter moved."""
    best_episode: int
    """Episodes after which the learner that validated best was taken."""
    best_accuracy: float
    """-1 where no validation gave finite logits."""


class FewShotFacts(RunFacts, frozen=True, tag_field="track", tag="few_shot"):
    """A run of `benchmarks.run`."""

    Results = FewShotResults
    Details = FewShotDetails

    transductive: bool
    backbone: BackboneFacts | None
    manifests: dict[str, ManifestFacts]
    """By split: val, test."""
    queries_per_episode: int
    training: FewShotTraining


class GeneralTraining(Part, frozen=True):
    """How meta-training went."""

    unroll: int
    """Unrolls done."""
    skipped: int
    """Steps in which something was not finite, so that no parameter moved."""
    best_unroll: int
    """Unrolls after which the optimizer that validated best was taken."""
    best_loss: float | None
    """Its loss on the validation problems; None where none was finite."""
    last_loss: float | None = None
    """Of the last optimizer; None where a validation problem diverged, and in records before computation 2."""
    exploded: float | None = None
    """Share of unrolls that ended above the loss of guessing, or were given up; None where that loss is not known."""
    clipped: float | None = None
    """Share of the meta-gradient that clipping cut: of its elements, or of meta-steps whose norm was too large."""

    @property
    def early(self) -> bool | None:
        """Whether the best optimizer is an early one; None where that was not recorded."""
        if self.clipped is None or self.best_loss is None:
            return None
        return is_early(self.best_loss, float("inf") if self.last_loss is None else self.last_loss)


class TrajectoryFacts(Part, frozen=True):
    """How smooth a learned optimizer is at states of trajectories that it takes; a number for each test problem."""

    steps: int
    """Of each trajectory."""
    penalty: list[float]
    """R of Eq. 3 at a radius of 1, the mean over steps and weights."""
    slope: list[float]
    """The mean over steps and weights of the l1 norm of ∂u/∂s."""
    lipschitz: list[float]
    """The largest of those slopes."""


class GeneralFacts(RunFacts, frozen=True, tag_field="track", tag="general"):
    """A run of `benchmarks.optimize`."""

    Results = GeneralResults
    Details = GeneralDetails

    protocol: ProtocolFacts
    training: GeneralTraining | None
    """None where nothing was meta-trained."""
    rate: float | None = None
    """Learning rate of a hand-designed optimizer, chosen on validation."""
    lipschitz: float | None = None
    """Of a learned optimizer, its largest slope around zero; None as `details.smoothness`."""
    trajectory: TrajectoryFacts | None = None
    """Of a learned optimizer, the best one of its meta-training; None where a trajectory is not finite, and in records
    from before it was measured."""


class PretrainingTraining(Part, frozen=True):
    """How pre-training went."""

    step: int
    best_step: int
    best_accuracy: float


class PretrainingFacts(Facts, frozen=True, tag_field="track", tag="pretraining"):
    """A run of `benchmarks.pretrain`."""

    Results = type(None)
    Details = PretrainingDetails

    processes: int
    bfloat16: bool
    training: PretrainingTraining


AnyFacts = FewShotFacts | GeneralFacts | PretrainingFacts
