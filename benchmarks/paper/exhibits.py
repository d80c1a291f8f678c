"""The paper's tables and figures as lists of jobs, at two scales: on the paper's data, and on what is at hand.

A new one is one entry of `EXHIBITS`; a plug-in registers its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.jobs.kinds import FewShotJob, Job, OptimizeJob, PretrainJob, TransferJob
from fewshot.registry import Registry

Seeds = Sequence[int]
REGULARIZERS = ("none", "smooth", "l2", "orthogonal", "spectral")
PLAIN_AND_SMOOTH = ("none", "smooth")
PAPERS = ("sgd", "sgdm", "adam", "amsgrad", "rmsprop")
"""Hand-designed optimizers of the paper."""
QUICK, FULL = "quick", "full"
QUICK_LABEL = "quick-scale analogue, not the paper's protocol"

HOURS, DAYS = 3600.0, 86_400.0
"""In seconds. Times below are guesses for one core, used only until something is measured."""


@dataclass(frozen=True)
class Exhibit:
    """A table or figure at one scale."""

    what: str
    """What it shows, on which data."""
    jobs: Callable[[Seeds], list[Job]]
    """The runs that it shows, for seeds of meta-training."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    figures: tuple[str, ...] = ("speed-up", "curves")
    """Kinds of figures that are drawn, of `reporting.kinds.KINDS`."""

    def title(self, name: str, scale: str) -> str:
        """For tables, figures and the page."""
        label = f" ({QUICK_LABEL})" if scale == QUICK else ""
        spaced = re.sub(r"(?<=[a-z])(?=\d+$)", " ", name)
        return f"{spaced[0].upper()}{spaced[1:]}: {self.what}{label}"


def trained(
    optimizer: str, regularizers: Sequence[str], task: str, steps: int, seeds: Seeds, guess: float
) -> list[OptimizeJob]:
    """Meta-trainings of an optimizer of network weights, tested on the same task for so many steps."""
    words = ("--optimizer", optimizer, "--task", task, "--steps", str(steps))
    return [OptimizeJob((*words, "--regularizer", r), seed, guess=guess) for r in regularizers for seed in seeds]


def transferred(
    sources: Sequence[OptimizeJob], task: str, steps: int, guess: float, optional: bool = False
) -> list[Job]:
    """Tests of meta-trained optimizers, as they are, on a task and for so many steps."""
    words = ("--task", task, "--steps", str(steps))
    return [TransferJob(words, s.seed, source=s, guess=guess, optional=optional) for s in sources]


def hand_designed(
    task: str, steps: int, guess: float, names: Sequence[str] = PAPERS, optional: bool = False
) -> list[Job]:
    """Hand-designed optimizers, their rates chosen for the task and its number of steps."""
    words = ("--task", task, "--steps", str(steps))
    words += ("--training.no-envelope",) if "resnet" in task else ()  # nine times as many days
    return [OptimizeJob((*words, "--optimizer", name), guess=guess, optional=optional) for name in names]


def meta_lstm(dataset: str, shot: int, seeds: Seeds, guess: float) -> list[Job]:
    """Meta-LSTM, plain and smoothed, 5-way."""
    return [
        FewShotJob(_few_shot("meta_lstm", dataset, shot, regularizer), seed, guess=guess)
        for regularizer in PLAIN_AND_SMOOTH
        for seed in seeds
    ]


def sib(dataset: str, backbone: str, seeds: Seeds, guesses: tuple[float, float], optional: bool = False) -> list[Job]:
    """SIB, plain and smoothed, and the nearest centroids that it starts from (K = 0); 5-way, 1 and 5 shots.

    Args:
        dataset: with features of its own backbone, which is pre-trained first.
        backbone: the one of the methods' presets for the dataset.
        seeds: of SIB; nearest centroids are not trained.
        guesses: seconds of pre-training, and of a run of SIB.
        optional: shown where it is finished, and run only when it is asked for.
    """
    pretraining, training = guesses
    needs = (PretrainJob(("--dataset", dataset, "--backbone", backbone), guess=pretraining),)
    jobs: list[Job] = []
    for shot in (1, 5):
        words = _few_shot("protonet", dataset, shot, "none")
        jobs.append(FewShotJob(words, 0, needs, guess=training / 4, optional=optional))
        for regularizer in PLAIN_AND_SMOOTH:
            words = _few_shot("sib", dataset, shot, regularizer)
            jobs += [FewShotJob(words, seed, needs, guess=training, optional=optional) for seed in seeds]
    return jobs


def _few_shot(method: str, dataset: str, shot: int, regularizer: str) -> tuple[str, ...]:
    words = ("--method", method, "--dataset", dataset, "--way", "5", "--shot", str(shot))
    return (*words, "--regularizer", regularizer)


def table1_quick(seeds: Seeds) -> list[Job]:
    simple = trained("simple", REGULARIZERS, "digits_mlp", 200, seeds, 36)
    longer = transferred(simple, "digits_mlp", 1000, 5)
    adam = [job for steps in (200, 1000) for job in hand_designed("digits_mlp", steps, steps / 80, ["adam"])]
    return [*simple, *longer, *adam]


def table1_full(seeds: Seeds) -> list[Job]:
    simple = trained("simple", REGULARIZERS, "cifar10_cnn", 10_000, seeds, 5 * HOURS)
    return [*simple, *hand_designed("cifar10_cnn", 10_000, 2 * HOURS, ["adam"])]


def table2_quick(seeds: Seeds) -> list[Job]:
    return [*meta_lstm("glyphs", 1, seeds, 270), *meta_lstm("glyphs", 5, seeds, 270)]


def table2_full(seeds: Seeds) -> list[Job]:
    datasets = ("mini_imagenet", "tiered_imagenet")
    return [job for name in datasets for shot in (1, 5) for job in meta_lstm(name, shot, seeds, DAYS)]


def table3_quick(seeds: Seeds) -> list[Job]:
    return [*sib("glyphs", "conv4_64", seeds, (90, 30)), *sib("omniglot", "conv4_64", seeds, (90, 30), optional=True)]


def table3_full(seeds: Seeds) -> list[Job]:
    guesses = 20 * DAYS, HOURS
    return [job for name in ("mini_imagenet", "cifar_fs") for job in sib(name, "wrn_28_10", seeds, guesses)]


def figure3_quick(seeds: Seeds) -> list[Job]:
    simple = trained("simple", PLAIN_AND_SMOOTH, "digits_mlp", 200, seeds, 36)
    dm = [
        *trained("dm", ("none",), "digits_mlp", 200, seeds, 75),
        *trained("dm", ("smooth",), "digits_mlp", 200, seeds, 380),  # without a closed form, its maximum costs
    ]
    longer = [*transferred(simple, "digits_mlp", 1000, 5), *transferred(dm, "digits_mlp", 1000, 12)]
    references = [job for steps in (200, 1000) for job in hand_designed("digits_mlp", steps, steps / 80)]
    return [*simple, *dm, *longer, *references]


def figure3_full(seeds: Seeds) -> list[Job]:
    simple = trained("simple", PLAIN_AND_SMOOTH, "mnist_mlp", 200, seeds, 2 * HOURS)
    dm = trained("dm", PLAIN_AND_SMOOTH, "mnist_mlp", 200, seeds, 8 * HOURS)
    lenet = trained("simple", PLAIN_AND_SMOOTH, "mnist_lenet", 200, seeds, 3 * HOURS)
    references = [job for steps in (200, 1000) for job in hand_designed("mnist_lenet", steps, steps)]
    return [*simple, *dm, *lenet, *transferred(lenet, "mnist_lenet", 1000, 300), *references]


def figure4_quick(seeds: Seeds) -> list[Job]:
    simple = trained("simple", PLAIN_AND_SMOOTH, "digits_cnn", 2000, seeds, 75)
    return [*simple, *hand_designed("digits_cnn", 2000, 80)]


def figure4_full(seeds: Seeds) -> list[Job]:
    simple = trained("simple", PLAIN_AND_SMOOTH, "cifar10_cnn", 10_000, seeds, 5 * HOURS)
    return [*simple, *hand_designed("cifar10_cnn", 10_000, 2 * HOURS)]


def figure5_quick(seeds: Seeds) -> list[Job]:
    sources = trained("simple", PLAIN_AND_SMOOTH, "digits_mlp", 200, seeds, 36)
    unseen = trained("simple", PLAIN_AND_SMOOTH, "digits_binary", 200, seeds, 30)
    return [
        *transferred(sources, "digits_cnn", 1000, 10),
        *hand_designed("digits_cnn", 1000, 40),
        *unseen,
        *hand_designed("digits_binary", 200, 5),
        *transferred(sources, "mnist_lenet", 200, 60, optional=True),
        *hand_designed("mnist_lenet", 200, 100, optional=True),
    ]


def figure5_full(seeds: Seeds) -> list[Job]:
    sources = trained("simple", PLAIN_AND_SMOOTH, "cifar10_cnn", 10_000, seeds, 5 * HOURS)
    unseen = trained("simple", PLAIN_AND_SMOOTH, "cifar10_binary", 200, seeds, 5 * HOURS)
    others = ("cifar10_resnet18", "cifar100_resnet18")
    tests = [job for task in others for job in transferred(sources, task, 10_000, 2 * DAYS)]
    references = [job for task in others for job in hand_designed(task, 10_000, 10 * DAYS)]
    return [*tests, *references, *unseen, *hand_designed("cifar10_binary", 200, 300)]


def figure6_quick(seeds: Seeds) -> list[Job]:
    simple = trained("simple", REGULARIZERS, "digits_mlp", 200, seeds, 36)
    return [*simple, *transferred(simple, "digits_mlp", 1000, 5)]


def figure6_full(seeds: Seeds) -> list[Job]:
    return [*trained("simple", REGULARIZERS, "cifar10_cnn", 10_000, seeds, 5 * HOURS)]


def figure7_quick(seeds: Seeds) -> list[Job]:
    return [*trained("simple", PLAIN_AND_SMOOTH, "digits_mlp", 200, seeds, 36)]


def figure7_full(seeds: Seeds) -> list[Job]:
    return [*trained("simple", PLAIN_AND_SMOOTH, "cifar10_cnn", 10_000, seeds, 5 * HOURS)]


def figure8_quick(seeds: Seeds) -> list[Job]:
    simple = trained("simple", PLAIN_AND_SMOOTH, "digits_mlp", 200, seeds, 36)
    return [*simple, *hand_designed("digits_mlp", 200, 3), *figure4_quick(seeds)]


def figure8_full(seeds: Seeds) -> list[Job]:
    lenet = trained("simple", PLAIN_AND_SMOOTH, "mnist_lenet", 200, seeds, 3 * HOURS)
    return [*lenet, *hand_designed("mnist_lenet", 200, 200), *figure4_full(seeds)]


_THREE = (0, 1, 2)
_TABLE = ("differences", "speed-up", "curves", "episodes", "smoothness", "cost")
_EXHIBITS: dict[str, dict[str, Exhibit]] = {
    "table1": {
        QUICK: Exhibit("regularizers of SimpleOptimizer, MLP on digits", table1_quick, figures=_TABLE),
        FULL: Exhibit("regularizers of SimpleOptimizer, 3-layer CNN on CIFAR-10", table1_full, figures=_TABLE),
    },
    "table2": {
        QUICK: Exhibit("Meta-LSTM on glyphs", table2_quick, _THREE, _TABLE),
        FULL: Exhibit("Meta-LSTM on miniImageNet and tieredImageNet", table2_full, figures=_TABLE),
    },
    "table3": {
        QUICK: Exhibit("SIB on glyphs and Omniglot", table3_quick, _THREE, _TABLE),
        FULL: Exhibit("SIB on miniImageNet and CIFAR-FS", table3_full, figures=_TABLE),
    },
    "figure3": {
        QUICK: Exhibit("learned and hand-designed optimizers, MLP on digits", figure3_quick, _THREE),
        FULL: Exhibit("learned and hand-designed optimizers, MLP and LeNet on MNIST", figure3_full),
    },
    "figure4": {
        QUICK: Exhibit("ten times the horizon of meta-training, CNN on digits", figure4_quick, _THREE),
        FULL: Exhibit("10 000 steps of a 3-layer CNN on CIFAR-10", figure4_full),
    },
    "figure5": {
        QUICK: Exhibit("transfer to another network, unseen classes, another dataset", figure5_quick, _THREE),
        FULL: Exhibit("transfer to ResNet-18, unseen classes, CIFAR-100", figure5_full),
    },
    "figure6": {
        QUICK: Exhibit("curves of table 1's regularizers, MLP on digits", figure6_quick),
        FULL: Exhibit("curves of table 1's regularizers, 3-layer CNN on CIFAR-10", figure6_full),
    },
    "figure7": {
        QUICK: Exhibit("updates around zero, from digits", figure7_quick, figures=("smoothness",)),
        FULL: Exhibit("updates around zero, from CIFAR-10", figure7_full, figures=("smoothness",)),
    },
    "figure8": {
        QUICK: Exhibit("accuracy of MLP and CNN on digits", figure8_quick, _THREE),
        FULL: Exhibit("accuracy of LeNet on MNIST and a 3-layer CNN on CIFAR-10", figure8_full),
    },
}
EXHIBITS: Registry[Mapping[str, Exhibit]] = Registry("table or figure")
"""By name, then by scale."""
for _name, _scales in _EXHIBITS.items():
    EXHIBITS.register(_name, _scales)
