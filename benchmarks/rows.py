"""From records to the numbers of a table: one row a configuration, paired with its unregularized partner."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.config import config_sha256
from benchmarks.record import find_records, read_record
from fewshot.engine.statistics import Interval, PairedDifference, mean_interval, paired_difference
from fewshot.errors import InputError

LABELS = ("dataset", "way", "shot", "method", "regularizer")
"""What names a row; rows alike in these are told apart by their settings."""


@dataclass(frozen=True)
class Row:
    """All runs of one configuration on one dataset file and the same test episodes."""

    config: Mapping[str, Any]
    accuracy: Mapping[int, np.ndarray]
    """Accuracy in % on every test episode, [episodes], by seed; finished runs only."""
    failed: int
    transductive: bool
    partner: tuple[str, ...]
    """Equal in rows that differ in their regularizer alone."""

    def interval(self) -> Interval:
        """Over episodes for one seed, over the seeds' means for several."""
        return _interval(list(self.accuracy.values()))

    def pooled(self) -> Interval:
        """Over all episodes of all seeds."""
        return mean_interval(np.concatenate(list(self.accuracy.values())))

    def difference(self, plain: Row) -> PairedDifference | None:
        """To another row on the same episodes, over the seeds both have (None if there are none).

        The interval is over episodes for one common seed, over seeds for several; p is over episodes, with differences
        averaged over seeds.
        """
        seeds = sorted(set(self.accuracy) & set(plain.accuracy))
        if not seeds:
            return None
        pairs = [self.accuracy[seed] - plain.accuracy[seed] for seed in seeds]
        interval = _interval(pairs)
        p = paired_difference(np.mean(pairs, axis=0), np.zeros(len(pairs[0]))).p
        return PairedDifference(interval.mean, interval.half_width, interval.n, p)


def load(folders: Sequence[Path]) -> list[Row]:
    """Read every record at or below `folders`; unreadable ones are named on standard error and left out."""
    records = []
    for path in find_records(folders):
        try:
            records.append(read_record(path))
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
    return group(records)


def group(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Records -> rows; only records that differ in nothing but their seed share a row.

    Plain rows come before their regularized partners, whatever the order of the records.
    """
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["config_sha256"], *_test_of(record)), []).append(record)
    rows = [_row(sorted(members, key=lambda r: r["seed"])) for _, members in sorted(groups.items())]
    return sorted(rows, key=lambda row: (*_sort_key(row), row.partner))


def _sort_key(row: Row) -> tuple[Any, ...]:
    return tuple("" if (label, row.config[label]) == ("regularizer", "none") else row.config[label] for label in LABELS)


def _row(members: Sequence[Mapping[str, Any]]) -> Row:
    first = members[0]
    finished = [record for record in members if record["status"] == "finished"]
    plain = {**first["config"], "regularizer": "none", "penalty": None}
    return Row(
        config=first["config"],
        accuracy={record["seed"]: _accuracy(record) for record in finished},
        failed=len(members) - len(finished),
        transductive=first["transductive"],
        partner=(config_sha256(plain), *_test_of(first)),
    )


def _accuracy(record: Mapping[str, Any]) -> np.ndarray:
    return 100 * np.asarray(record["test"]["best"]["correct"], dtype=np.float64) / record["queries_per_episode"]


def _test_of(record: Mapping[str, Any]) -> tuple[str, str]:
    return record["dataset"]["fingerprint"], record["manifests"]["test"]["sha256"]


def _interval(by_seed: list[np.ndarray]) -> Interval:
    return mean_interval(by_seed[0] if len(by_seed) == 1 else [values.mean() for values in by_seed])


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The numbers of a table, a line a row, in the order of `rows`; NaN where there is none.

    Columns: `LABELS`, transductive; accuracy and half_width (%) over n units, unit (episodes or seeds); episodes,
    seeds, failed; episodes_half_width (%); difference, difference_half_width (percentage points) and p, to the plain
    partner; settings, which tells apart rows of equal labels.
    """
    plain = {row.partner: row for row in rows if row.config["regularizer"] == "none"}
    settings = _settings(rows)
    lines = [{**_numbers(row, plain.get(row.partner)), "settings": s} for row, s in zip(rows, settings, strict=True)]
    return pd.DataFrame(lines)


def _numbers(row: Row, plain: Row | None) -> dict[str, Any]:
    line = {label: row.config[label] for label in LABELS} | {"transductive": row.transductive}
    seeds = len(row.accuracy)
    interval, pooled = (row.interval(), row.pooled()) if seeds else (None, None)
    line |= {
        "accuracy": interval.mean if interval else np.nan,
        "half_width": interval.half_width if interval else np.nan,
        "n": interval.n if interval else 0,
        "unit": "seeds" if seeds > 1 else "episodes",
        "episodes": len(next(iter(row.accuracy.values()))) if seeds else 0,
        "seeds": seeds,
        "failed": row.failed,
        "episodes_half_width": pooled.half_width if pooled else np.nan,
    }
    difference = row.difference(plain) if plain is not None and plain is not row else None
    return line | {
        "difference": difference.mean if difference else np.nan,
        "difference_half_width": difference.half_width if difference else np.nan,
        "p": difference.p if difference else np.nan,
    }


def _settings(rows: Sequence[Row]) -> list[str]:
    """For rows of equal labels, the options in which they differ."""
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    keys = [tuple(row.config[label] for label in LABELS) for row in rows]
    options = [_flatten(row.config) for row in rows]
    for key, mine in zip(keys, options, strict=True):
        alike.setdefault(key, []).append(mine)
    return [_differing(mine, alike[key]) for key, mine in zip(keys, options, strict=True)]


def _differing(mine: dict[str, Any], others: list[dict[str, Any]]) -> str:
    names = sorted(name for name in mine if any(other.get(name) != mine[name] for other in others))
    return ", ".join(f"{name}={mine[name]}" for name in names)


def _flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
