"""What one record says to the tables: its values, what it is called, and which others it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.running.record import config_sha256, read_record
from fewshot.errors import InputError

LABELS = {
    "few_shot": ("dataset", "way", "shot", "method", "regularizer"),
    "general": ("dataset", "task", "source", "optimizer", "regularizer"),
}
"""What names a row of each track; rows alike in these are told apart by their settings. The source of a transferred
optimizer is the task it was meta-trained on, "" where that is the task itself."""
_SOURCE_RUN = ("weights", "seed")
"""What tells apart the meta-trainings of one configuration that a row of transferred optimizers pools."""
_SOURCE_CONFIG = ("optimizer_name", "config_sha256")
"""What differs between a transferred optimizer and its partner, whose sources have another regularizer."""

_CURVES = ("training", "smoothness", "grid", "test")
"""Members of a record that are read from its file when a figure needs them."""


@dataclass(frozen=True)
class Run:
    """What one record adds to its row."""

    key: tuple[str, ...]
    seed: int
    values: np.ndarray | None
    losses: np.ndarray | None
    shared: Mapping[str, Any]
    record: Mapping[str, Any]


class StoredRecord(Mapping[str, Any]):
    """A record in its file: what tables need is at hand, curves are read when somebody looks at them."""

    def __init__(self, path: Path, at_hand: Mapping[str, Any]) -> None:
        """Of the file `path`, all of which but `_CURVES` is `at_hand`."""
        self._path, self._at_hand = path, dict(at_hand)

    def __getitem__(self, name: str) -> Any:
        return _whole(self._path, self._at_hand["digest"])[name] if name in _CURVES else self._at_hand[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_whole(self._path, self._at_hand["digest"]))

    def __len__(self) -> int:
        return len(_whole(self._path, self._at_hand["digest"]))


@lru_cache(64)  # more than the seeds of all rows in one figure
def _whole(path: Path, digest: str) -> dict[str, Any]:
    record = read_record(path)
    if record["digest"] != digest:
        raise InputError(f"{path} was written anew while it was reported; run the report again")
    return record


def read_run(path: Path) -> Run | None:
    """The run of a record; None where it is of another track, such as a pre-trained backbone.

    Raises:
        InputError: where the record is unreadable, or lacks what its track needs.
    """
    record = read_record(path, without=("training", "smoothness", "grid", "test.last"))
    if record.get("track") not in LABELS:
        return None
    run = run_of(record, str(path))
    return replace(run, record=StoredRecord(path, {name: record[name] for name in record if name not in _CURVES}))


def run_of(record: Mapping[str, Any], name: str) -> Run:
    """The run of a record of either track; `name` is for the error.

    Raises:
        InputError: where the record lacks what its track needs.
    """
    try:
        return _few_shot(record) if record["track"] == "few_shot" else _general(record)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{name} lacks what a table needs ({error!r:.100}); run again with --fresh") from error


def _few_shot(record: Mapping[str, Any]) -> Run:
    config = record["config"]
    backbone = (record.get("backbone") or {}).get("sha256", "")
    test = (record["dataset"]["fingerprint"], record["manifests"]["test"]["sha256"])
    identity = (*test, backbone)
    values = None
    if record["status"] == "finished":
        values = 100 * np.asarray(record["test"]["best"]["correct"], dtype=np.float64) / record["queries_per_episode"]
    shared = {
        "track": "few_shot",
        "config": config,
        "labels": {name: config[name] for name in LABELS["few_shot"]},
        "metric": "accuracy",
        "transductive": record["transductive"],
        "tested_on": test,
        "partner": (config_sha256(_without_regularizer(config)), *identity),
    }
    key = (config_sha256(config), str(record["transductive"]), *identity)
    return Run(key, record["seed"], values, None, shared, record)


def _general(record: Mapping[str, Any]) -> Run:
    source = record["config"]["transfer"]
    config = {**record["config"], "transfer": _without(source, _SOURCE_RUN)}
    plain = {**_without_regularizer(config), "transfer": _without(source, (*_SOURCE_RUN, *_SOURCE_CONFIG))}
    test = (record["dataset"]["fingerprint"], record["protocol"]["sha256"])
    losses = values = None
    if record["status"] == "finished":
        runs = sorted(record["test"]["best"]["runs"], key=lambda run: run["initialization"])
        if [run["initialization"] for run in runs] != list(range(len(runs))):
            raise ValueError("some initializations are missing")
        losses, accuracies = _final(runs, "test_loss"), _final(runs, "test_accuracy")
        values = losses if accuracies is None else 100 * accuracies
    labels = {
        "dataset": record["dataset"]["name"],
        "task": config["task"],
        "source": source["task"] if source else "",
        "optimizer": config["optimizer"],
        "regularizer": config["regularizer"],
    }
    shared = {
        "track": "general",
        "config": config,
        "labels": labels,
        "metric": "loss" if values is not None and values is losses else "accuracy",
        "transductive": False,
        "tested_on": test,
        "partner": (config_sha256(plain), *test),
    }
    seed = source["seed"] if source else record["seed"]
    return Run((config_sha256(config), *test), seed, values, losses, shared, record)


def _final(runs: Sequence[Mapping[str, Any]], name: str) -> np.ndarray | None:
    """[initializations], NaN where a run diverged; None where the task has no such number."""
    if all(run[name] is None for run in runs):
        return None
    last = [run[name][-1] if run["diverged_at"] is None else np.nan for run in runs]
    return np.asarray(last, dtype=np.float64)


def _without_regularizer(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "regularizer": "none", "penalty": None}


def _without(options: Mapping[str, Any] | None, names: Sequence[str]) -> dict[str, Any] | None:
    return None if options is None else {name: value for name, value in options.items() if name not in names}
