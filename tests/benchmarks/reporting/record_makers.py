"""Records with known numbers."""

import numpy as np

from benchmarks.few_shot.config import RunConfig, config_sha256


def make_record(correct, regularizer="none", seed=0, status="finished", manifest="m", transductive=False, **options):
    config = RunConfig(regularizer=regularizer, **options)
    return {
        "track": "few_shot",
        "status": status,
        "failure": None if status == "finished" else "the meta-loss was not finite",
        "config": config.to_dict(),
        "config_sha256": config.sha256(),
        "seed": seed,
        "transductive": transductive,
        "dataset": {"name": config.dataset, "fingerprint": "f"},
        "manifests": {"test": {"sha256": manifest}},
        "queries_per_episode": 75,
        "test": {"best": {"correct": list(map(int, correct))}} if status == "finished" else {},
    }


def counts(seed, n=50, mean=45):
    return np.random.Generator(np.random.Philox(seed)).integers(mean - 15, mean + 15, n)


def general_record(
    accuracy,
    regularizer="none",
    seed=0,
    optimizer="simple",
    transfer=None,
    diverged=(),
    protocol="p",
    steps=2,
    offset=0.0,
    config_test=None,
    **options,
):
    """A record whose final test accuracies, fractions by initialization, are `accuracy` (None: a task without).

    Losses are 2 - accuracy, or 2 - initialization / 10, plus `offset`.
    """
    hand_designed = optimizer in ("sgd", "adam")
    config = {
        "optimizer": optimizer,
        "task": "digits_mlp",
        "regularizer": regularizer,
        "penalty": None if regularizer == "none" else {"weight": 1.0},
        "core": None if hand_designed else {"hidden": 10},
        "training": {"unrolls": 5},
        "test": {"steps": steps, "initializations": len(accuracy), "seed": 0} | (config_test or {}),
        "transfer": transfer,
        **options,
    }
    runs = [_test_run(i, value, i in diverged, offset) for i, value in enumerate(accuracy)]
    return {
        "track": "general",
        "status": "finished",
        "failure": None,
        "config": config,
        "config_sha256": config_sha256(config),
        "seed": seed,
        "dataset": {"name": "digits", "fingerprint": "f"},
        "protocol": {"task": "digits_mlp", "sha256": protocol},
        "test": {"best": {"unroll": 5, "runs": runs[::-1]}},
    }


def _test_run(i, value, diverged, offset):
    ends = [0.1] if diverged else [0.1, 0.5, value]
    return {
        "initialization": i,
        "diverged_at": 1 if diverged else None,
        "step": list(range(len(ends))),
        "test_loss": [2 - (v if v is not None else i / 10) + offset for v in ends],
        "test_accuracy": None if value is None else ends,
    }


def source(seed, **options):
    names = {"weights": f"w{seed}", "optimizer_name": "simple", "task": "mnist_mlp", "config_sha256": "c", "seed": seed}
    return {**names, **options}


def draw(seed, n=5):
    return np.random.Generator(np.random.Philox(seed)).uniform(0.5, 0.9, n)
