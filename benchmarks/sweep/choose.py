"""The choice of a setting by validation, over seeds and validation problems at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.reporting.crossed.analysis import Analysis, difference_of, mean_of
from benchmarks.reporting.crossed.missing import worst_case

Rule = Literal["best", "simplest"]


@dataclass(frozen=True)
class Judged:
    """A setting, by its validation values."""

    mean: Analysis
    behind: Analysis | None
    """By how much it is worse than the one of the best mean, seed by seed and problem by problem; None of that one."""
    seeds: int
    missing: int
    """Seed × problem without a value: it diverged, or meta-training failed. Each counts as the worst value of all."""

    @property
    def tied(self) -> bool:
        """Whether it is within one standard error of the best."""
        return self.behind is None or self.behind.mean <= standard_error(self.behind)


@dataclass(frozen=True)
class Selection:
    """Settings judged, in the order given, and which one is chosen."""

    judged: Sequence[Judged]
    best: int
    chosen: int


def select(tables: Sequence[np.ndarray], higher_is_better: bool, rule: Rule) -> Selection:
    """Choose a setting.

    Args:
        tables: of each setting, from the simplest on: values [seeds, problems], of the same seeds and problems in all;
            NaN where there is none.
        higher_is_better: of the values.
        rule: best: the one with the best mean; simplest: the first one that is within one standard error of it. The
            error is that of the difference between the two, in which what seeds and problems have in common cancels.

    Raises:
        ValueError: where no setting has any value, or shapes differ.
    """
    filled = worst_case(tables, higher_is_better)
    if not all(np.isfinite(table).all() for table in filled):
        raise ValueError("no setting has a value")
    sign = 1.0 if higher_is_better else -1.0
    best = int(np.argmax([sign * table.mean() for table in filled]))
    judged = [
        Judged(
            mean_of(table),
            None if i == best else difference_of(sign * filled[best], sign * table),
            len(table),
            int(table.size - np.isfinite(tables[i]).sum()),
        )
        for i, table in enumerate(filled)
    ]
    chosen = best if rule == "best" else next(i for i, each in enumerate(judged) if each.tied)
    return Selection(judged, best, chosen)


def standard_error(found: Analysis) -> float:
    """Of a mean; 0 where nothing says how far it may be off."""
    return max((math.sqrt(max(variance, 0.0)) for variance, _ in found.spreads), default=0.0)
