"""Rows: all runs of one configuration that were tested on the same problems, of both tracks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.reporting import inference
from benchmarks.reporting.naming import apart, flat, label
from benchmarks.reporting.statistics import Interval
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
    def unit(self) -> str:
        """What `interval` is over."""
        return "seeds" if len(self.values) > 1 else self.problem

    @cached_property
    def interval(self) -> Interval | None:
        """Of what did not diverge; None where that is nothing."""
        return inference.of_row(list(self.values.values()))

    @cached_property
    def pooled(self) -> Interval | None:
        """Over all problems of all seeds that did not diverge (None: nothing)."""
        return inference.pooled(list(self.values.values()))


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
    return replace(first, values=values, records={seed: r for run in members for seed, r in run.records.items()})
