"""Rows: all runs of one configuration that were tested on the same problems, of both tracks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.reporting.crossed.analysis import Analysis, mean_of
from benchmarks.reporting.crossed.missing import worst_case
from benchmarks.reporting.naming import apart, flat, label
from benchmarks.reporting.selection import Selection, Trained, selection_of
from benchmarks.reporting.style import LineStyle, line_style
from benchmarks.running.record import Record

_HASHED = ("transfer.config_sha256",)
"""Options that nobody can read; they are among `Row.hashes`."""


@dataclass(frozen=True, eq=False)
class Row:
    """All runs of one configuration on the same test problems: episodes (few-shot) or initializations (general)."""

    key: tuple[str, ...]
    """Equal in runs that share a row: what identifies it, however often records are read."""
    track: str
    config: Mapping[str, Any]
    labels: Mapping[str, Any]
    """What names it, in the order in which rows are sorted; rows alike in these are told apart by `settings`. The
    source of a transferred optimizer is the task it was meta-trained on, "" where that is the task itself."""
    metric: str
    """What `values` are: "accuracy" in %; "loss", the final test loss, of a general task that has no accuracy."""
    problem: str
    """What one value is measured on: episodes or initializations."""
    test: Mapping[str, Any]
    """What decides the test problems, but for their hash."""
    on: str
    """The test in words, such as "glyphs, 5-way 1-shot"; tests that would read alike are told apart by `group`."""
    tested_on: tuple[str, ...]
    """Equal in rows that were tested on the same problems."""
    partner: tuple[str, ...]
    """Equal in rows that differ in their regularizer alone."""
    hashes: Mapping[str, str]
    """Of what the configuration does not show, or not in words: data, test, backbone, source."""
    hand_designed: bool
    """Nothing was meta-trained, so that its one seed stands for every seed."""
    transductive: bool
    values: Mapping[int, np.ndarray]
    """Of every test problem, [problems], by seed (of a transferred optimizer: of its source); finished runs only. The
    final test value of a general run, NaN where it diverged."""
    records: Mapping[int, Record]
    """By seed; failed ones too."""
    trained: Mapping[int, Trained]
    """By seed; empty where nothing is known."""
    losses: Mapping[int, np.ndarray] = field(default_factory=dict)
    """As `values`, the final test losses of the general track; empty of the other."""
    settings: str = ""
    """What tells it apart from rows of the same labels."""
    local_settings: str = ""
    """What tells it apart from rows of the same labels on the same test."""

    @property
    def dataset(self) -> str:
        return str(self.labels["dataset"])

    @property
    def method(self) -> str:
        """The method, or the optimizer of the general track."""
        return str(self.labels["method"])

    @property
    def regularizer(self) -> str:
        return str(self.labels["regularizer"])

    @property
    def source(self) -> str:
        """Task on which a transferred optimizer was meta-trained; empty of any other row."""
        return str(self.labels.get("source", ""))

    @property
    def plain(self) -> bool:
        """Without a regularizer."""
        return self.regularizer == "none"

    @property
    def higher_is_better(self) -> bool:
        """Of `values`."""
        return self.metric == "accuracy"

    @property
    def style(self) -> LineStyle:
        """How it is drawn."""
        return line_style(self.method, self.regularizer, not self.hand_designed)

    @property
    def label(self) -> str:
        """As in a legend, among rows on the same test."""
        return label(self.method, self.regularizer, self.source, self.local_settings)

    @property
    def finished(self) -> list[Record]:
        """Records of runs that did not fail."""
        return [record for record in self.records.values() if record.facts.status == "finished"]

    @property
    def failed(self) -> int:
        """Number of runs that failed."""
        return len(self.records) - len(self.values)

    @property
    def diverged(self) -> int:
        """Test runs of finished records that ended in values that are not finite."""
        return int(sum(np.isnan(values).sum() for values in self.values.values()))

    @property
    def problems(self) -> int:
        """Test problems of each run."""
        return len(next(iter(self.values.values()), ()))

    @property
    def early(self) -> int:
        """Number of seeds whose best optimizer is an early one."""
        return sum(trained.early for trained in self.trained.values())

    @cached_property
    def selection(self) -> Selection | None:
        """How its optimizers were selected; None where nothing is known."""
        return selection_of(self.trained.values())

    @property
    def computed(self) -> dict[str, tuple[str, ...]]:
        """What runs must share to be one run but for rounding: all known values of each."""
        environments = [record.facts.environment for record in self.records.values()]
        found = {
            "threads": {str(environment.threads) for environment in environments},
            "device": {environment.device for environment in environments},
            "processor": {environment.processor for environment in environments} - {""},
            "precision": {str(self.config.get("precision", "fp32"))},
        }
        return {name: tuple(sorted(values)) for name, values in found.items()}

    def table(self, seeds: Iterable[int] | None = None, values: Mapping[int, np.ndarray] | None = None) -> np.ndarray:
        """Values [seeds, problems], [problems] of a hand-designed optimizer; NaN where there is none.

        Args:
            seeds: of the rows of the table; those of failed runs have no value. None: all.
            values: by seed; None: those of the row.
        """
        values = self.values if values is None else values
        empty = np.full(max(map(len, values.values()), default=1), np.nan)
        rows = {seed: np.concatenate([found, empty[len(found) :]]) for seed, found in values.items()}
        if self.hand_designed:
            return next(iter(rows.values()), empty)
        return np.array([rows.get(seed, empty) for seed in (self.records if seeds is None else seeds)])

    @cached_property
    def analysis(self) -> Analysis | None:
        """The mean of the seeds and problems that have all values; None where no problem has."""
        found = mean_of(self.table())
        return None if np.isnan(found.mean) else found

    @cached_property
    def worst(self) -> Analysis | None:
        """The same where a run without a value has the worst value of the row; None where none is missing."""
        table = self.table()
        if np.isfinite(table).all() or not np.isfinite(table).any():
            return None
        return mean_of(*worst_case([table], self.higher_is_better))


def group(runs: Iterable[Row]) -> list[Row]:
    """Rows of one run each -> rows; only runs that differ in nothing but their seed share one.

    Plain rows come before their regularized partners, whatever the order of the runs. Of two records of one
    configuration and seed the one that finished later counts.
    """
    groups: dict[tuple[str, ...], dict[int, Row]] = {}
    for run in sorted(runs, key=_age):
        (seed,) = run.records
        groups.setdefault(run.key, {})[seed] = run
    rows = [_joined([members[seed] for seed in sorted(members)]) for _, members in sorted(groups.items())]
    return _told_apart(sorted(rows, key=lambda row: (row.track, *_order(row), row.partner)))


def _told_apart(rows: list[Row]) -> list[Row]:
    """With words that tell apart rows, and tests, which would read alike."""
    names = [(row.track, *row.labels.values()) for row in rows]
    options = [_options(row) for row in rows]
    hashes = [row.hashes for row in rows]
    settings = apart(names, options, hashes)
    local = apart([(*name, *row.tested_on) for name, row in zip(names, rows, strict=True)], options, hashes)
    tested_on = [{name: row.hashes[name] for name in ("data", "test")} for row in rows]
    tests = apart([row.on for row in rows], [row.test for row in rows], tested_on)
    return [
        replace(row, settings=everywhere, local_settings=here, on=f"{row.on}, {test}" if test else row.on)
        for row, everywhere, here, test in zip(rows, settings, local, tests, strict=True)
    ]


def _options(row: Row) -> dict[str, Any]:
    shown = {name: value for name, value in flat(row.config).items() if name not in _HASHED}
    return {**shown, "transductive": row.transductive}


def _age(run: Row) -> tuple[str, str]:
    (record,) = run.records.values()
    return record.measured.finished, record.digest


def _order(row: Row) -> tuple[Any, ...]:
    *labels, regularizer = row.labels.values()
    return (*labels, "" if row.plain else regularizer)


def _joined(members: list[Row]) -> Row:
    """One row of runs, by seed."""
    first = next((run for run in members if run.values), members[0])  # only a finished run knows its metric
    values = {seed: values for run in members for seed, values in run.values.items()}
    records = {seed: record for run in members for seed, record in run.records.items()}
    trained = {seed: found for run in members for seed, found in run.trained.items()}
    losses = {seed: found for run in members for seed, found in run.losses.items()}
    return replace(first, values=values, records=records, trained=trained, losses=losses)
