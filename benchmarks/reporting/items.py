"""Rows as figures and the page draw them: what they are called, what they are drawn with, and their numbers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.reporting.figures.cost import Cost
from benchmarks.reporting.figures.distributions import Spread
from benchmarks.reporting.figures.smoothness import Response
from benchmarks.reporting.series import Band, Series, tested_curve, training_curve
from fewshot.engine.statistics import Interval, mean_interval

FEW_SHOT, GENERAL = "few_shot", "general"
LINES = 12
"""Rows in one figure at most."""


@dataclass(frozen=True)
class Item:
    """All records of one configuration, tested on the same thing."""

    track: str
    dataset: str
    experiment: str
    """What its group is about, such as "glyphs, 5-way 1-shot"."""
    test: str
    """Identity of what it was tested on; only items of equal `test` are drawn together."""
    method: str
    regularizer: str
    settings: str
    learned: bool
    transductive: bool
    records: tuple[Mapping[str, Any], ...]

    @property
    def label(self) -> str:
        name = self.method if self.regularizer == "none" else f"{self.method} + {self.regularizer}"
        return f"{name} ({self.settings})" if self.settings else name

    @cached_property
    def finished(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(record for record in self.records if record["status"] == "finished")

    @property
    def clock(self) -> str:
        """What meta-training counts."""
        return "episode" if self.track == FEW_SHOT else "unroll"

    def tested(self, metric: str) -> Series | None:
        """A test curve of a general-track item; see `tested_curve`."""
        found = tested_curve(self.finished, metric) if self.track == GENERAL and self.finished else None
        return self._series(*found) if found else None

    def trained(self, name: str, source: str = "curve") -> Series | None:
        """A curve of meta-training; see `training_curve`."""
        found = training_curve(self.finished, name, source)
        return self._series(found, "seeds") if found else None

    def _series(self, found: Band, unit: str, ended: str = "") -> Series:
        return Series(
            self.method,
            self.regularizer,
            found.x,
            found.mean,
            found.low,
            found.high,
            found.n,
            unit,
            self.learned,
            self.settings,
            ended,
        )

    def episodes(self) -> Spread | None:
        """Accuracy of every test episode in %, averaged over seeds."""
        if self.track != FEW_SHOT or not self.finished:
            return None
        values = np.mean([_accuracy(record) for record in self.finished], axis=0)
        return Spread(self.label, self.method, self.regularizer, values)

    def response(self) -> Response | None:
        """Outputs around zero of the first seed's optimizer."""
        for record in self.finished:
            found = record.get("smoothness")
            if found:
                state, update = np.asarray(found["state"], float), np.asarray(found["update"], float)
                return Response(self.label, self.method, self.regularizer, state, update, found.get("lipschitz"))
        return None

    @cached_property
    def result(self) -> Interval | None:
        """Test accuracy in %: over episodes of one seed or over seeds; None without any.

        In the general track it is that of the last step, over initializations of one seed or over seeds.
        """
        if not self.finished:
            return None
        if self.track == FEW_SHOT:
            return _interval([_accuracy(record) for record in self.finished])
        last = [_last_accuracies(record) for record in self.finished]
        return _interval(last) if all(map(len, last)) else None

    def cost(self) -> Cost | None:
        """Result and seconds of meta-training."""
        seconds = [record.get("measured", {}).get("train_seconds") for record in self.finished]
        seconds = np.array([s for s in seconds if s], dtype=np.float64)
        if not len(seconds) or self.result is None:
            return None
        result = self.result
        return Cost(self.label, self.method, self.regularizer, seconds, result.mean, result.half_width, self.learned)


def _accuracy(record: Mapping[str, Any]) -> np.ndarray:
    return 100 * np.asarray(record["test"]["best"]["correct"], dtype=np.float64) / record["queries_per_episode"]


def _last_accuracies(record: Mapping[str, Any]) -> np.ndarray:
    """Of the initializations that got to the end; empty where one did not, or where the task has no accuracy."""
    runs = record["test"]["best"]["runs"]
    if any(run["diverged_at"] is not None or not run.get("test_accuracy") for run in runs):
        return np.empty(0)
    return 100 * np.array([run["test_accuracy"][-1] for run in runs], dtype=np.float64)


def _interval(by_seed: Sequence[np.ndarray]) -> Interval:
    return mean_interval(by_seed[0] if len(by_seed) == 1 else [values.mean() for values in by_seed])


@dataclass(frozen=True)
class Experiment:
    """Items that were tested on the same thing, and may be drawn together."""

    title: str
    slug: str
    """For file names and links."""
    track: str
    dataset: str
    items: tuple[Item, ...]

    def drawn(self) -> tuple[Item, ...]:
        """No more items than a figure can hold: first the best of each method and regularizer, then others."""
        if len(self.items) <= LINES:
            return self.items
        ranked = sorted(self.items, key=lambda item: -item.result.mean if item.result else np.inf)
        first: dict[tuple[str, str], Item] = {}
        for item in ranked:
            first.setdefault((item.method, item.regularizer), item)
        chosen = [*first.values(), *(item for item in ranked if item not in first.values())][:LINES]
        return tuple(item for item in self.items if any(item is c for c in chosen))

    @property
    def heading(self) -> str:
        """The title, and how many items of all are drawn."""
        drawn = len(self.drawn())
        return self.title if drawn == len(self.items) else f"{self.title} ({drawn} of {len(self.items)} rows)"


def experiments(items: Sequence[Item]) -> list[Experiment]:
    """Items by what they were tested on, in the order of first appearance."""
    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.track, item.test), []).append(item)
    titles = [members[0].experiment for members in groups.values()]
    return [_experiment(members, titles.count(members[0].experiment) > 1) for members in groups.values()]


def _experiment(members: Sequence[Item], ambiguous: bool) -> Experiment:
    first = members[0]
    mark = hashlib.sha256(first.test.encode()).hexdigest()[:6]
    title = f"{first.experiment} [test {mark}]" if ambiguous else first.experiment
    slug = re.sub(r"[^a-z0-9]+", "-", first.experiment.lower()).strip("-")[:60] or "experiment"
    return Experiment(title, f"{slug}-{mark}" if ambiguous else slug, first.track, first.dataset, tuple(members))
