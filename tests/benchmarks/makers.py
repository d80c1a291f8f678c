"""Records of both tracks made of the schema's own parts: with known numbers, or with numbers that look like results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.running.identity import config_sha256
from benchmarks.running.record import Record
from benchmarks.running.schema import (
    BackboneFacts,
    DatasetFacts,
    Environment,
    FewShotDetails,
    FewShotFacts,
    FewShotResults,
    FewShotTraining,
    GeneralDetails,
    GeneralFacts,
    GeneralResults,
    GeneralTraining,
    GridPoint,
    ManifestFacts,
    Measured,
    ProtocolFacts,
    TestedEpisodes,
    TestedOptimizer,
    TestRun,
    ZeroStateUpdates,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENVIRONMENT = Environment(
    versions={"python": "3.11.2", "fewshot-smooth-bench": "0.1.0", "torch": "2.13.0", "numpy": "2.4.0"},
    commit=COMMIT,
    device="cpu",
    threads=2,
)
FAILURE = "the meta-loss was not finite in 20 meta-training steps in a row"
PENALTY = {"weight": 1.0, "radius": 0.1}
NO_FEW_SHOT_DETAILS = FewShotDetails(curve=[], validation=[])
HAND_DESIGNED = {"sgd": 1.1, "adam": 1.6, "rmsprop": 1.4}
LEARNED = {("simple", "none"): 1.9, ("simple", "smooth"): 2.4, ("dm", "none"): 1.7, ("dm", "smooth"): 2.2}


def random(*key: Any) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(int(sha256(repr(key))[:16], 16)))


def sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def counts(seed: int, n: int = 50, mean: int = 45) -> np.ndarray:
    """Correct queries, of 75, of n episodes."""
    return np.random.Generator(np.random.Philox(seed)).integers(mean - 15, mean + 15, n)


def draw(seed: int, n: int = 5) -> np.ndarray:
    """Accuracies of n initializations."""
    return np.random.Generator(np.random.Philox(seed)).uniform(0.5, 0.9, n)


def source(seed: int, **options: Any) -> dict[str, Any]:
    """Where a transferred optimizer comes from."""
    names = {"weights": f"w{seed}", "optimizer_name": "simple", "task": "mnist_mlp", "config_sha256": "c", "seed": seed}
    return {**names, **options}


def measured(seconds: float = 0.0, finished: str = "2026-01-02T03:04:05+00:00") -> Measured:
    return Measured(train_seconds=seconds, test_seconds=0.1 * seconds, peak_memory_bytes=450_000_000, finished=finished)


def few_shot(
    correct: Sequence[int] | np.ndarray = (),
    regularizer: str = "none",
    seed: int = 0,
    *,
    failed: bool = False,
    which: str = "",
    transductive: bool | None = None,
    backbone: BackboneFacts | None = None,
    details: FewShotDetails = NO_FEW_SHOT_DETAILS,
    cost: Measured | None = None,
    environment: Environment = ENVIRONMENT,
    failure: str = FAILURE,
    **options: Any,
) -> Record:
    """One run of `benchmarks.run` with these correct queries; `which` tells test episodes of equal sizes apart."""
    config = {
        "method": "meta_lstm",
        "dataset": "glyphs",
        "way": 5,
        "shot": 1,
        "query": 15,
        "regularizer": regularizer,
        "normalize": False,
        "penalty": PENALTY if regularizer != "none" else None,
        "learner": {"hidden_size": 20, "filters": 32},
        "training": {"episodes": 5000, "meta_rate": 1e-3},
        "test": {"episodes": 600, "seed": 0},
        **options,
    }
    name = config["dataset"]
    size = {"dataset": name, "way": config["way"], "shot": config["shot"], "query": config["query"], "seed": 0}
    size |= {"count": config["test"]["episodes"], "fingerprint": sha256(name), "split": "test"}
    tested = TestedEpisodes(episode=4000, correct=list(map(int, correct)))
    facts = FewShotFacts(
        config=config,
        config_sha256=config_sha256(config),
        seed=seed,
        dataset=DatasetFacts(name=name, fingerprint=sha256(name)),
        environment=environment,
        status="failed" if failed else "finished",
        failure=failure if failed else None,
        meta_parameters=37_123,
        transductive=config["method"] == "sib" if transductive is None else transductive,
        backbone=backbone,
        manifests={"test": ManifestFacts(**size, sha256=sha256([size, which]))},
        queries_per_episode=config["way"] * config["query"],
        training=FewShotTraining(episode=5000, skipped=0, best_episode=4000, best_accuracy=0.7),
    )
    return Record.of(facts, None if failed else FewShotResults(best=tested, last=tested), details, cost or measured())


def general(
    runs: Sequence[TestRun] = (),
    regularizer: str = "none",
    seed: int = 0,
    *,
    optimizer: str = "simple",
    transfer: dict[str, Any] | None = None,
    dataset: str = "",
    which: str = "",
    steps: int = 2,
    initializations: int = 0,
    failed: bool = False,
    details: GeneralDetails | None = None,
    cost: Measured | None = None,
    environment: Environment = ENVIRONMENT,
    failure: str = FAILURE,
    **options: Any,
) -> Record:
    """One run of `benchmarks.optimize` with these trainings; `which` tells problems of equal sizes apart."""
    learned = optimizer not in ("sgd", "sgdm", "adam", "amsgrad", "rmsprop")
    config = {
        "optimizer": optimizer,
        "task": "digits_mlp",
        "regularizer": regularizer,
        "penalty": PENALTY if regularizer != "none" else None,
        "core": {"hidden_size": 20, "layers": 2} if learned else None,
        "training": {"unrolls": 1000, "truncation": 20} if learned else {"validation_problems": 3},
        "test": {"steps": steps, "initializations": initializations or len(runs), "seed": 0, "points": 100},
        "transfer": transfer,
        **options,
    }
    task, data = config["task"], dataset or config["task"].split("_")[0]
    size = {"task": task, "dataset": data, "fingerprint": sha256(data), "batch_size": 128, **config["test"]}
    tested = TestedOptimizer(unroll=800 if learned else 0, runs=list(runs))
    training = GeneralTraining(unroll=1000, skipped=0, best_unroll=800, best_loss=0.3)
    facts = GeneralFacts(
        config=config,
        config_sha256=config_sha256(config),
        seed=seed,
        dataset=DatasetFacts(name=data, fingerprint=sha256(data)),
        environment=environment,
        status="failed" if failed else "finished",
        failure=failure if failed else None,
        meta_parameters=440 if learned else 0,
        protocol=ProtocolFacts(**size, task_facts={}, sha256=sha256([size, which])),
        training=training if learned and transfer is None else None,
        rate=None if learned else 0.1,
    )
    results = None if failed else GeneralResults(best=tested, last=tested)
    return Record.of(facts, results, details or GeneralDetails(), cost or measured())


def optimized(
    accuracy: Sequence[float | None] | np.ndarray,
    regularizer: str = "none",
    seed: int = 0,
    *,
    diverged: Sequence[int] | set[int] = (),
    offset: float = 0.0,
    **options: Any,
) -> Record:
    """A run of the general track with these final test accuracies, fractions by initialization (None: a task without).

    Losses are 2 - accuracy, or 2 - initialization / 10, plus `offset`.
    """
    runs = [_ending_at(i, value, i in diverged, offset) for i, value in enumerate(accuracy)]
    return general(runs[::-1], regularizer, seed, **options)


def _ending_at(i: int, value: float | None, diverged: bool, offset: float) -> TestRun:
    ends = [0.1] if diverged else [0.1, 0.5, value]
    losses = [2 - (v if v is not None else i / 10) + offset for v in ends]
    accuracies = None if value is None else [float(v) for v in ends if v is not None]
    return TestRun(
        initialization=i,
        diverged_at=1 if diverged else None,
        step=list(range(len(ends))),
        train_loss=list(map(float, losses)),
        test_loss=list(map(float, losses)),
        train_accuracy=accuracies,
        test_accuracy=accuracies,
    )


def plausible_few_shot(
    regularizer: str = "none", seed: int = 0, mean: float = 0.66, episodes: int = 600, **options: Any
) -> Record:
    """Test episodes of equal index are equally hard whatever the regularizer."""
    where = (options.get("dataset", "glyphs"), options.get("shot", 1))
    hardness = random("hardness", *where).normal(0, 0.09, episodes)
    noise = random("noise", regularizer, seed, *where).normal(0, 0.03, episodes)
    correct = np.clip(np.round(75 * (mean + hardness + noise)), 0, 75).astype(int)
    options = {
        "details": _meta_training(mean, regularizer, seed),
        "cost": measured(180.0 + 9 * seed + (14 if regularizer != "none" else 0)),
        "which": str(episodes),
        **options,
    }
    return few_shot(correct, regularizer, seed, **options)


def _meta_training(mean: float, regularizer: str, seed: int) -> FewShotDetails:
    episode = np.arange(10, 5001, 10)
    learned = 1 - np.exp(-episode / 900)
    noise = random("training", regularizer, seed).normal(0, 0.03, (3, len(episode)))
    accuracy = 0.2 + (mean - 0.2) * learned + noise[0]
    columns = {
        "episode": episode,
        "loss": 1.61 * np.exp(-1.2 * (accuracy - 0.2)) + 0.1 * noise[1] ** 2,
        "accuracy": accuracy,
        "penalty": 0.02 + 0.01 * learned,
        "gradient_norm": 0.3 + noise[2] ** 2,
        "step_size": 0.15 + 0.1 * learned * (1.4 if regularizer == "none" else 1.0),
        "keep": 0.99 + 0.005 * learned,
    }
    curve = [dict(zip(columns, map(float, point), strict=True)) for point in zip(*columns.values(), strict=True)]
    at = range(500, 5001, 500)
    validation = [{"episode": float(e), "accuracy": 0.2 + (mean - 0.2) * (1 - float(np.exp(-e / 900)))} for e in at]
    return FewShotDetails(curve=curve, validation=validation)


def plausible_general(
    optimizer: str = "simple",
    regularizer: str = "none",
    seed: int = 0,
    speed: float = 2.0,
    steps: int = 200,
    initializations: int = 5,
    diverged_at: int | None = None,
    **options: Any,
) -> Record:
    """`speed` decides how fast the loss falls; the first initialization may diverge."""
    learned = optimizer not in ("sgd", "sgdm", "adam", "amsgrad", "rmsprop")
    ends = [diverged_at if i == 0 else None for i in range(initializations)]
    runs = [_optimizee(optimizer, regularizer, seed, i, speed, steps, end) for i, end in enumerate(ends)]
    grid = [GridPoint(rate=0.1, validation_loss=0.3), GridPoint(rate=10.0, validation_loss=None)]
    details = _meta_unrolls(optimizer, regularizer, seed, speed) if learned else GeneralDetails(grid=grid)
    cost = measured((900.0 if learned else 20.0) + 30 * seed)
    options = {"optimizer": optimizer, "steps": steps, "details": details, "cost": cost, **options}
    return general(runs, regularizer, seed, **options)


def _optimizee(
    optimizer: str, regularizer: str, seed: int, initialization: int, speed: float, steps: int, end: int | None
) -> TestRun:
    step = np.unique(np.linspace(0, steps, min(steps, 100) + 1).round().astype(int))
    step = step[step < end] if end is not None else step
    noise = random(optimizer, regularizer, seed, initialization).normal(0, 0.05, (2, len(step)))
    loss = 2.3 * np.exp(-speed * np.log1p(step / 12)) + 0.04
    train, test = loss * np.exp(noise[0]), (loss + 0.03) * np.exp(0.5 * noise[1])
    return TestRun(
        initialization=initialization,
        diverged_at=end,
        step=step.tolist(),
        train_loss=train.tolist(),
        test_loss=test.tolist(),
        train_accuracy=np.exp(-train).tolist(),
        test_accuracy=np.exp(-test).tolist(),
    )


def _meta_unrolls(optimizer: str, regularizer: str, seed: int, speed: float) -> GeneralDetails:
    unroll = np.arange(10, 1001, 10)
    loss = 90 * np.exp(-unroll / 300) + 20 / speed + random("general", regularizer, seed).gamma(2, 1, len(unroll))
    state = random("states").normal(0, 0.1, 1000)
    sharp = 60.0 if regularizer == "none" else 4.0
    update = -0.01 * np.tanh(sharp * state) * (1 if optimizer == "simple" else 0.8)
    at = range(100, 1001, 100)
    return GeneralDetails(
        curve=[{"unroll": float(u), "loss": float(x), "penalty": 0.1} for u, x in zip(unroll, loss, strict=True)],
        validation=[{"unroll": float(u), "loss": float(0.5 / speed + np.exp(-u / 200))} for u in at],
        smoothness=ZeroStateUpdates(state=state.tolist(), update=update.tolist(), lipschitz=0.01 * sharp),
    )


def suite(seeds: int = 5) -> list[Record]:
    """Both tracks: two few-shot tests with a failure, two optimization tasks with a divergence."""
    means = (("none", 0.665, 1), ("smooth", 0.68, 1), ("none", 0.79, 5), ("smooth", 0.792, 5))
    records = [plausible_few_shot(r, s, m, shot=k) for s in range(seeds) for r, m, k in means]
    records.append(few_shot((), "none", seeds, which="600", failed=True))
    for task, steps in (("digits_mlp", 200), ("cifar10_conv", 10_000)):
        for s in range(seeds):
            records += [plausible_general(o, r, s, speed, steps, task=task) for (o, r), speed in LEARNED.items()]
            records.append(plausible_general("rnnprop", "none", s, 1.2, steps, diverged_at=steps // 2, task=task))
        records += [plausible_general(o, "none", 0, speed, steps, task=task) for o, speed in HAND_DESIGNED.items()]
    return records
