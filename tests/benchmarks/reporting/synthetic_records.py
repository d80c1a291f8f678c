"""Records as the two runners write them, with invented numbers that look like results."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from benchmarks.few_shot.config import RunConfig
from benchmarks.running.record import digest
from fewshot.engine.few_shot import TrainingOptions

COMMIT = "0123456789abcdef0123456789abcdef01234567"
VERSIONS = {"python": "3.11.2", "fewshot-smooth-bench": "0.1.0", "torch": "2.13.0", "numpy": "2.4.0"}
HAND_DESIGNED = {"sgd": 1.1, "adam": 1.6, "rmsprop": 1.4}
LEARNED = {("simple", "none"): 1.9, ("simple", "smooth"): 2.4, ("dm", "none"): 1.7, ("dm", "smooth"): 2.2}


def random(*key: Any) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(int(hashlib.sha256(repr(key).encode()).hexdigest()[:16], 16)))


def sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def completed(record: dict[str, Any], seconds: float) -> dict[str, Any]:
    record = {"record_version": 1, **record}
    measured = {
        "train_seconds": seconds,
        "test_seconds": 0.1 * seconds,
        "peak_memory_bytes": 450_000_000,
        "interruptions": 0,
        "finished": "2026-01-02T03:04:05+00:00",
    }
    return {**record, "digest": digest(record), "measured": measured}


def few_shot(
    regularizer: str = "none",
    seed: int = 0,
    mean: float = 0.66,
    episodes: int = 600,
    failed: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """One run of `benchmarks.run`; test episodes of equal index are equally hard whatever the regularizer."""
    config = RunConfig(regularizer=regularizer, training=TrainingOptions(episodes=5000), **options)
    hardness = random("hardness", config.dataset, config.shot).normal(0, 0.09, episodes)
    noise = random("noise", regularizer, seed, config.dataset, config.shot).normal(0, 0.03, episodes)
    queries = config.way * config.query
    correct = np.clip(np.round(queries * (mean + hardness + noise)), 0, queries).astype(int).tolist()
    manifest = sha256([config.dataset, config.way, config.shot, episodes])
    test = {name: {"episode": 4000, "correct": correct} for name in ("best", "last")}
    record = {
        "track": "few_shot",
        "status": "failed" if failed else "finished",
        "failure": "the meta-loss was not finite in 20 meta-training steps in a row" if failed else None,
        "config": config.to_dict(),
        "config_sha256": config.sha256(),
        "seed": seed,
        "transductive": config.method == "sib",
        "dataset": {"name": config.dataset, "fingerprint": sha256(config.dataset)},
        "manifests": {"test": {"split": "test", "count": episodes, "seed": 0, "sha256": manifest}},
        "versions": VERSIONS,
        "commit": COMMIT,
        "device": "cpu",
        "threads": 2,
        "meta_parameters": 37_123,
        "training": _few_shot_training(mean, regularizer, seed),
        "queries_per_episode": queries,
        "test": {} if failed else test,
    }
    return completed(record, 180.0 + 9 * seed + (14 if regularizer != "none" else 0))


def _few_shot_training(mean: float, regularizer: str, seed: int) -> dict[str, Any]:
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
    rows = [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]
    validation = [
        {"episode": e, "accuracy": 0.2 + (mean - 0.2) * (1 - float(np.exp(-e / 900)))} for e in range(500, 5001, 500)
    ]
    return {
        "episode": 5000,
        "skipped": 0,
        "best_episode": 4000,
        "best_accuracy": mean,
        "curve": rows,
        "validation": validation,
    }


def general(
    optimizer: str = "simple",
    regularizer: str = "none",
    seed: int = 0,
    speed: float = 2.0,
    steps: int = 200,
    initializations: int = 5,
    diverged_at: int | None = None,
    task: str = "digits_mlp",
    **changes: Any,
) -> dict[str, Any]:
    """One run of the general track; `speed` decides how fast the loss falls, the first initialization may diverge."""
    learned = optimizer not in ("sgd", "sgdm", "adam", "amsgrad", "rmsprop")
    test = {"steps": steps, "initializations": initializations, "seed": 0, "points": 100}
    penalty = {"weight": 1.0, "radius": 0.1, "steps": 10} if regularizer != "none" else None
    training = {"unrolls": 1000, "truncation": 20, "meta_rate": 1e-4} if learned else {"rates": 7}
    config = {
        "optimizer": optimizer,
        "task": task,
        "regularizer": regularizer,
        "penalty": penalty,
        "core": {"hidden_size": 20, "layers": 2} if learned else None,
        "training": training,
        "test": test,
        "transfer": None,
    } | changes
    dataset = {"name": task.split("_")[0], "fingerprint": sha256(task)}
    protocol = {"task": task, "dataset": dataset["fingerprint"], **test, "batch_size": 128}
    ends = [diverged_at if i == 0 else None for i in range(initializations)]
    runs = [_optimizee(optimizer, regularizer, seed, i, speed, steps, end) for i, end in enumerate(ends)]
    best = {"unroll": 800, "runs": runs}
    record = {
        "track": "general",
        "status": "finished",
        "failure": None,
        "config": config,
        "config_sha256": sha256(config),
        "seed": seed,
        "dataset": dataset,
        "protocol": {**protocol, "sha256": sha256(protocol)},
        "versions": VERSIONS,
        "commit": COMMIT,
        "device": "cpu",
        "threads": 2,
        "meta_parameters": 440 if learned else 0,
        "training": _general_training(regularizer, seed, speed) if learned else {},
        "test": {"best": best, "last": best},
    }
    if learned:
        record["smoothness"] = _smoothness(optimizer, regularizer)
    else:
        record |= {
            "grid": [{"rate": 0.1, "validation_loss": 0.3}, {"rate": 10.0, "validation_loss": None}],
            "rate": 0.1,
        }
    return completed(record, (900.0 if learned else 20.0) + 30 * seed)


def _optimizee(
    optimizer: str, regularizer: str, seed: int, initialization: int, speed: float, steps: int, end: int | None
) -> dict[str, Any]:
    step = np.unique(np.linspace(0, steps, min(steps, 100) + 1).round().astype(int))
    step = step[step < end] if end is not None else step
    noise = random(optimizer, regularizer, seed, initialization).normal(0, 0.05, (2, len(step)))
    loss = 2.3 * np.exp(-speed * np.log1p(step / 12)) + 0.04
    train, test = loss * np.exp(noise[0]), (loss + 0.03) * np.exp(0.5 * noise[1])
    return {
        "initialization": initialization,
        "diverged_at": end,
        "step": step.tolist(),
        "train_loss": train.tolist(),
        "test_loss": test.tolist(),
        "train_accuracy": np.exp(-train).tolist(),
        "test_accuracy": np.exp(-test).tolist(),
    }


def _general_training(regularizer: str, seed: int, speed: float) -> dict[str, Any]:
    unroll = np.arange(10, 1001, 10)
    loss = 90 * np.exp(-unroll / 300) + 20 / speed + random("general", regularizer, seed).gamma(2, 1, len(unroll))
    curve = [{"unroll": int(u), "loss": float(x), "penalty": 0.1} for u, x in zip(unroll, loss, strict=True)]
    validation = [{"unroll": u, "loss": float(0.5 / speed + np.exp(-u / 200))} for u in range(100, 1001, 100)]
    return {
        "unroll": 1000,
        "skipped": 0,
        "best_unroll": 800,
        "best_loss": validation[7]["loss"],
        "curve": curve,
        "validation": validation,
    }


def _smoothness(optimizer: str, regularizer: str) -> dict[str, Any]:
    state = random("states").normal(0, 0.1, 1000)
    sharp = 60.0 if regularizer == "none" else 4.0
    update = -0.01 * np.tanh(sharp * state) * (1 if optimizer == "simple" else 0.8)
    return {"state": state.tolist(), "update": update.tolist(), "lipschitz": 0.01 * sharp}


def suite(seeds: int = 5) -> list[dict[str, Any]]:
    """Both tracks: two few-shot experiments with a failure, two optimization tasks with a divergence."""
    records = [few_shot(r, s, m, shot=k) for s in range(seeds) for r, m, k in _FEW_SHOT]
    records.append(few_shot("none", seeds, shot=1, failed=True))
    for task, steps in (("digits_mlp", 200), ("cifar10_conv", 10_000)):
        records += [
            general(o, r, s, speed, steps, task=task) for s in range(seeds) for (o, r), speed in LEARNED.items()
        ]
        records += [general(o, "none", 0, speed, steps, task=task) for o, speed in HAND_DESIGNED.items()]
        records += [general("rnnprop", "none", s, 1.2, steps, diverged_at=steps // 2, task=task) for s in range(seeds)]
    return records


_FEW_SHOT = (("none", 0.665, 1), ("smooth", 0.68, 1), ("none", 0.79, 5), ("smooth", 0.792, 5))
