"""Tuning: the sides that are compared get as many tries each, and of each a setting is chosen by validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.jobs.kinds import Job, Places
from benchmarks.jobs.plan import Plan, make_plan
from benchmarks.running.command import options
from benchmarks.running.validation import read_validation
from benchmarks.sweep.choose import Rule, select
from benchmarks.sweep.grid import Grid, of_equal_size
from benchmarks.sweep.halving import Halving, rungs
from benchmarks.sweep.show import Outcome
from benchmarks.sweep.trials import TRACKS, Side, Track
from fewshot.errors import InputError

PLAIN = "none"
Runner = Callable[[Plan], list[str]]
"""Runs what is left of a plan: a text about everything that failed."""


@dataclass(frozen=True)
class Tuning:
    """What is tuned, and how."""

    sides: Sequence[Side]
    seeds: tuple[int, ...]
    rule: Rule = "best"
    halving: int | None = None
    """Of which one in so many settings goes on; None: all settings are trained to the end."""

    def first_jobs(self) -> list[Job]:
        """All trials, of which halving stops most early: those up to its first rung."""
        return [
            job for side in self.sides for number in range(len(side.settings))
            for job in side.trials(number, self.seeds, self._stops(side)[0])
        ]  # fmt: skip

    def run(self, places: Places, run: Runner) -> tuple[list[Outcome], list[str]]:
        """Run trials, and choose.

        Returns:
            An outcome a side, and what failed: then nothing is chosen.
        """
        live = [list(range(len(side.settings))) for side in self.sides]
        rules: list[Halving | None] = [None] * len(live)
        for rung in range(max(len(self._stops(side)) for side in self.sides)):
            stops = [self._stops(side)[min(rung, len(self._stops(side)) - 1)] for side in self.sides]
            jobs = [
                [side.trials(number, self.seeds, stop) for number in numbers]
                for side, numbers, stop in zip(self.sides, live, stops, strict=True)
            ]
            failures = run(make_plan([job for side in jobs for trials in side for job in trials], places))
            if failures:
                return [], failures
            for i, (side, stop) in enumerate(zip(self.sides, stops, strict=True)):
                if stop is not None:
                    tables = {n: _table(trials, places)[0] for n, trials in zip(live[i], jobs[i], strict=True)}
                    rule = rules[i] or Halving(len(side.settings), _higher(jobs[i], places), self.halving or 2)
                    live[i] = rule.going_on(live[i], lambda n, tables=tables: _mean(tables[n])) or live[i][:1]
                    rules[i] = rule
        return [self._outcome(side, numbers, places) for side, numbers in zip(self.sides, live, strict=True)], []

    def _stops(self, side: Side) -> list[int | None]:
        """Where trials of a side stop to be compared; None: at the end."""
        if self.halving is None:
            return [None]
        options = side.base.training
        total = getattr(options, side.track.length.partition(".")[2])
        return [*rungs(total, options.validate_every, self.halving)[:-1], None]

    def _outcome(self, side: Side, numbers: Sequence[int], places: Places) -> Outcome:
        jobs = [side.trials(number, self.seeds) for number in numbers]
        found = [_table(trials, places) for trials in jobs]
        if len({problems for _, problems in found}) > 1:
            raise InputError("settings were validated on different problems, and cannot be compared; sweep each apart")
        higher = _higher(jobs, places)
        try:
            chosen = select([table for table, _ in found], higher, self.rule)
        except ValueError:
            raise InputError(
                f"every setting of regularizer {side.regularizer} failed or diverged on every validation problem;"
                " give others in --grid"
            ) from None
        tried = len(side.settings)
        settings = [side.settings[number] for number in numbers]
        return Outcome(side.regularizer, settings, chosen, higher, tried * len(self.seeds), tried)


def _table(trials: Sequence[Job], places: Places) -> tuple[np.ndarray, str]:
    """Values [seeds, problems] of a setting, NaN where there is none, and what decides the problems."""
    found = [read_validation(path) for job in trials if (path := job.record_path(places)) is not None]
    return np.stack([each.table for each in found]), found[0].facts.problems


def _mean(table: np.ndarray) -> float:
    """NaN where any value is missing: what diverged early is not trained further."""
    return float(table.mean()) if np.isfinite(table).all() else math.nan


def _higher(jobs: Sequence[Sequence[Job]], places: Places) -> bool:
    path = jobs[0][0].record_path(places)
    assert path is not None
    return read_validation(path).facts.higher_is_better


def sides_of(name: str, words: Sequence[str], grid: Grid, plain_grid: Grid | None, plain: bool = True) -> list[Side]:
    """What is compared: the command, and where it has a regularizer the same without one, each with as many settings.

    Args:
        name: of the track.
        words: the command line of its runs.
        grid: of their options.
        plain_grid: of the side without a regularizer; None: what it has of `grid`, and as many more meta-rates.
        plain: whether there is such a side.

    Raises:
        InputError: for what the commands refuse, and for grids of different sizes.
    """
    track = TRACKS[name]
    base = track.line.parse(words)
    if not _meta_trained(base):
        raise InputError(f"nothing of {' '.join(words)} is meta-trained, so there is nothing to choose by a sweep")
    sides = [Side(base.regularizer, track, tuple(base.words), grid.settings)]
    if plain and base.regularizer != PLAIN:
        sides.append(_plain_side(track, base, grid, plain_grid))
    for side in sides:
        _ = side.configs  # what does not fit is refused before any work
    return sides


def _plain_side(track: Track, base: Any, grid: Grid, given: Grid | None) -> Side:
    words = (*without(base.words, "regularizer", "penalty."), "--regularizer", PLAIN)
    if given is None:
        middle = track.line.parse(words).training.meta_rate
        given = of_equal_size(grid.without("penalty."), len(grid), track.rate, middle)
    if len(given) != len(grid):
        raise InputError(
            f"--plain-grid has {len(given)} settings and --grid {len(grid)}: give both as many, so that both are tuned"
            " alike"
        )
    return Side(PLAIN, track, words, given.settings)


def _meta_trained(base: Any) -> bool:
    return hasattr(base.training, "meta_rate") and getattr(base, "evaluate", None) is None


def without(words: Sequence[str], *names: str) -> tuple[str, ...]:
    """Words of a command line but for options whose names begin so."""
    kept = [(name, values) for name, values in options(words) if not name.startswith(names)]
    return tuple(word for name, values in kept for word in (f"--{name}", *values))


def fresh(seeds: Sequence[int]) -> tuple[int, ...]:
    """As many other seeds."""
    return tuple(range(max(seeds) + 1, max(seeds) + 1 + len(seeds)))
