"""From records to rows: all runs of one configuration, tested on the same problems, of both tracks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.config import config_sha256
from benchmarks.record import find_records, read_record
from fewshot.engine.statistics import Interval, PairedDifference, mean_interval, paired_difference
from fewshot.errors import InputError

LABELS = {
    "few_shot": ("dataset", "way", "shot", "method", "regularizer"),
    "general": ("dataset", "task", "source", "optimizer", "regularizer"),
}
"""What names a row of each track; rows alike in these are told apart by their settings. The source of a transferred
optimizer is the task it was meta-trained on, "" where that is the task itself."""
_SOURCE_RUN = ("weights", "seed", "config_sha256")


@dataclass(frozen=True)
class Difference(PairedDifference):
    """A paired difference of two rows: its interval is over n units, its p over pairs (averaged over seeds)."""

    unit: str
    """ "episodes", "initializations" or "seeds"."""
    dropped: int
    """Pairs left out because one of the two diverged."""


@dataclass(frozen=True)
class Row:
    """All runs of one configuration on the same test problems: episodes (few-shot) or initializations (general)."""

    track: str
    config: Mapping[str, Any]
    labels: Mapping[str, Any]
    """The values of `LABELS[track]`."""
    metric: str
    """What `values` are: "accuracy" in %; "loss", the final test loss, of a general task that has no accuracy."""
    values: Mapping[int, np.ndarray]
    """Of every test problem, [problems], by seed (of a transferred optimizer: of its source); finished runs only. The
    final test value of a general run, NaN where it diverged."""
    losses: Mapping[int, np.ndarray]
    """Final test loss of every initialization, by seed, NaN where it diverged; empty in the few-shot track."""
    records: tuple[Mapping[str, Any], ...]
    """By seed; failed ones too."""
    failed: int
    transductive: bool
    tested_on: tuple[str, ...]
    """Equal in rows that were tested on the same problems."""
    partner: tuple[str, ...]
    """Equal in rows that differ in their regularizer alone."""

    @property
    def plain(self) -> bool:
        """Without a regularizer."""
        return self.config["regularizer"] == "none"

    @property
    def hand_designed(self) -> bool:
        """Nothing was meta-trained, so that its one seed stands for every seed."""
        return self.track == "general" and self.config["core"] is None

    @property
    def higher_is_better(self) -> bool:
        """Of `values`."""
        return self.metric == "accuracy"

    @property
    def problem(self) -> str:
        """What one value is measured on."""
        return "episodes" if self.track == "few_shot" else "initializations"

    @property
    def diverged(self) -> int:
        """Test runs of finished records that ended in values that are not finite."""
        return int(sum(np.isnan(values).sum() for values in self.values.values()))

    def interval(self) -> Interval | None:
        """Over problems for one seed, over the seeds' means for several; of what did not diverge (None: nothing)."""
        return _interval([values[np.isfinite(values)] for values in self.values.values()])

    def pooled(self) -> Interval | None:
        """Over all problems of all seeds that did not diverge (None: nothing)."""
        values = np.concatenate([np.empty(0), *self.values.values()])
        return _interval([values[np.isfinite(values)]])

    def difference(self, other: Row) -> Difference | None:
        """To another row on the same problems, over the seeds both have (None if there is no pair).

        A hand-designed optimizer is paired with every seed of a learned one. The interval is over problems for one
        seed, over seeds for several; p is over problems, with differences averaged over seeds.
        """
        if self.tested_on != other.tested_on or self.metric != other.metric:
            return None
        pairs = np.array([a - b for a, b in _paired_seeds(self, other)])
        finite = np.isfinite(pairs)
        by_seed = [values[mask] for values, mask in zip(pairs, finite, strict=True) if mask.any()]
        interval = _interval(by_seed)
        if interval is None:
            return None
        kept = finite.any(axis=0)
        means = np.where(finite, pairs, 0.0).sum(axis=0)[kept] / finite.sum(axis=0)[kept]
        p = paired_difference(means, np.zeros(len(means))).p
        unit = "seeds" if len(by_seed) > 1 else self.problem
        return Difference(interval.mean, interval.half_width, interval.n, p, unit, int((~finite).sum()))


def _paired_seeds(a: Row, b: Row) -> list[tuple[np.ndarray, np.ndarray]]:
    if a.hand_designed != b.hand_designed:
        fixed, learned = (a, b) if a.hand_designed else (b, a)
        values = next(iter(fixed.values.values()), None)
        pairs = [] if values is None else [(values, other) for other in learned.values.values()]
        return pairs if fixed is a else [(y, x) for x, y in pairs]
    return [(a.values[seed], b.values[seed]) for seed in sorted(set(a.values) & set(b.values))]


def _interval(by_seed: Sequence[np.ndarray]) -> Interval | None:
    by_seed = [values for values in by_seed if len(values)]
    if not by_seed:
        return None
    return mean_interval(by_seed[0] if len(by_seed) == 1 else [values.mean() for values in by_seed])


@dataclass(frozen=True)
class _Run:
    """What one record adds to its row."""

    key: tuple[str, ...]
    seed: int
    values: np.ndarray | None
    losses: np.ndarray | None
    shared: Mapping[str, Any]
    record: Mapping[str, Any]


def load(folders: Sequence[Path]) -> list[Row]:
    """Read every record at or below `folders`; unreadable ones are named on standard error and left out.

    Records of other tracks, such as pre-trained backbones, are no rows and left out without a word.
    """
    runs = []
    for path in find_records(folders):
        try:
            record = read_record(path)
            if record.get("track") in LABELS:
                runs.append(_run(record, str(path)))
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
    return _group(runs)


def group(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Records -> rows; only records that differ in nothing but their seed share a row.

    Plain rows come before their regularized partners, whatever the order of the records. Of two records of one
    configuration and seed the one that finished later counts.

    Raises:
        InputError: where a record lacks what its track needs.
    """
    return _group([_run(record, "a record") for record in records])


def _group(runs: Iterable[_Run]) -> list[Row]:
    groups: dict[tuple[str, ...], dict[int, _Run]] = {}
    for run in sorted(runs, key=_age):
        groups.setdefault(run.key, {})[run.seed] = run
    rows = [_row([members[seed] for seed in sorted(members)]) for _, members in sorted(groups.items())]
    return sorted(rows, key=lambda row: (row.track, *_sort_key(row), row.partner))


def _age(run: _Run) -> tuple[str, str]:
    measured = run.record.get("measured") or {}
    return str(measured.get("finished", "")), str(run.record.get("digest", ""))


def _sort_key(row: Row) -> tuple[Any, ...]:
    labels = [row.labels[name] for name in LABELS[row.track]]
    return (*labels[:-1], "" if row.plain else labels[-1])


def _row(members: Sequence[_Run]) -> Row:
    finished = [run for run in members if run.values is not None]
    return Row(
        **(finished or members)[0].shared,  # a failed run does not know whether its task has an accuracy
        values={run.seed: run.values for run in finished if run.values is not None},
        losses={run.seed: run.losses for run in finished if run.losses is not None},
        records=tuple(run.record for run in members),
        failed=len(members) - len(finished),
    )


def _run(record: Mapping[str, Any], name: str) -> _Run:
    try:
        return _few_shot(record) if record["track"] == "few_shot" else _general(record)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{name} lacks what a table needs ({error!r:.100}); run again with --fresh") from error


def _few_shot(record: Mapping[str, Any]) -> _Run:
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
    return _Run(key, record["seed"], values, None, shared, record)


def _general(record: Mapping[str, Any]) -> _Run:
    source = record["config"]["transfer"]
    config = {**record["config"], "transfer": _without(source, _SOURCE_RUN)}
    plain = {**_without_regularizer(config), "transfer": _without(source, (*_SOURCE_RUN, "optimizer_name"))}
    test = (record["dataset"]["fingerprint"], record["protocol"]["sha256"])
    losses = values = None
    if record["status"] == "finished":
        runs = sorted(record["test"]["best"]["runs"], key=lambda run: run["initialization"])
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
    return _Run((config_sha256(config), *test), seed, values, losses, shared, record)


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
