"""From records to rows: all runs of one configuration, tested on the same problems, of both tracks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting.runs import LABELS, Run, read_run, run_of
from benchmarks.reporting.statistics import Interval, PairedDifference, mean_interval, signed_rank
from benchmarks.running.parallel import mapped
from benchmarks.running.record import find_records
from fewshot.console import progress
from fewshot.errors import InputError


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
        return self._finite_interval

    @cached_property
    def _finite_interval(self) -> Interval | None:
        return _interval([values[np.isfinite(values)] for values in self.values.values()])

    def pooled(self) -> Interval | None:
        """Over all problems of all seeds that did not diverge (None: nothing)."""
        values = np.concatenate([np.empty(0), *self.values.values()])
        return _interval([values[np.isfinite(values)]])

    def margin(self, other: Row) -> Interval | None:
        """The mean and interval of `difference` alone, which cost far less than its p."""
        pairs = self._pairs(other)
        return None if pairs is None else _margin(pairs)

    def difference(self, other: Row) -> Difference | None:
        """To another row on the same problems, over the seeds both have (None if there is no pair, or `unpaired`).

        A hand-designed optimizer is paired with every seed of a learned one. The interval is over problems for one
        seed, over seeds for several; p is over problems, with differences averaged over seeds.
        """
        pairs = self._pairs(other)
        interval = None if pairs is None else _margin(pairs)
        if pairs is None or interval is None:
            return None
        finite = np.isfinite(pairs)
        kept = finite.any(axis=0)
        means = np.where(finite, pairs, 0.0).sum(axis=0)[kept] / finite.sum(axis=0)[kept]
        unit = "seeds" if finite.any(axis=1).sum() > 1 else self.problem
        dropped = int((~finite).sum())
        return Difference(interval.mean, interval.half_width, interval.n, signed_rank(means), unit, dropped)

    def unpaired(self, other: Row) -> str:
        """Why problems of the two cannot be paired: how many each run has, where these differ; else empty."""
        sizes = sorted({len(values) for row in (self, other) for values in row.values.values()})
        return f"runs of {', '.join(map(str, sizes))} {self.problem} on one test" if len(sizes) > 1 else ""

    def _pairs(self, other: Row) -> np.ndarray | None:
        """Differences [seeds, problems]; None where the two were not tested on the same problems."""
        if self.tested_on != other.tested_on or self.metric != other.metric or self.unpaired(other):
            return None
        return np.array([a - b for a, b in _paired_seeds(self, other)])


def _margin(pairs: np.ndarray) -> Interval | None:
    return _interval([values[np.isfinite(values)] for values in pairs])


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


def load(folders: Sequence[Path]) -> list[Row]:
    """Read every record at or below `folders`; unreadable ones are named on standard error and left out.

    Records of other tracks, such as pre-trained backbones, are no rows and left out without a word.
    """
    paths = list(find_records(folders))
    runs = []
    with mapped(_read, paths, least=500, chunk=50) as found, progress() as display:
        task = display.add_task("records", total=len(paths), note="")
        for run in found:
            display.advance(task)
            if isinstance(run, str):
                print(f"left out: {run}", file=sys.stderr)
            elif run is not None:
                runs.append(run)
    return _group(runs)


def _read(path: Path) -> Run | str | None:
    """The run, or why it is left out."""
    try:
        return read_run(path)
    except InputError as error:
        return str(error)


def group(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Records -> rows; only records that differ in nothing but their seed share a row.

    Plain rows come before their regularized partners, whatever the order of the records. Of two records of one
    configuration and seed the one that finished later counts.

    Raises:
        InputError: where a record lacks what its track needs.
    """
    return _group([run_of(record, "a record") for record in records])


def _group(runs: Iterable[Run]) -> list[Row]:
    groups: dict[tuple[str, ...], dict[int, Run]] = {}
    for run in sorted(runs, key=_age):
        groups.setdefault(run.key, {})[run.seed] = run
    rows = [_row([members[seed] for seed in sorted(members)]) for _, members in sorted(groups.items())]
    return sorted(rows, key=lambda row: (row.track, *_sort_key(row), row.partner))


def _age(run: Run) -> tuple[str, str]:
    measured = run.record.get("measured") or {}
    return str(measured.get("finished", "")), str(run.record.get("digest", ""))


def _sort_key(row: Row) -> tuple[Any, ...]:
    labels = [row.labels[name] for name in LABELS[row.track]]
    return (*labels[:-1], "" if row.plain else labels[-1])


def _row(members: Sequence[Run]) -> Row:
    finished = [run for run in members if run.values is not None]
    return Row(
        **(finished or members)[0].shared,  # a failed run does not know whether its task has an accuracy
        values={run.seed: run.values for run in finished if run.values is not None},
        losses={run.seed: run.losses for run in finished if run.losses is not None},
        records=tuple(run.record for run in members),
        failed=len(members) - len(finished),
    )
