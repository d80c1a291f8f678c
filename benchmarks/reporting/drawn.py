"""What figures and charts draw, as plain arrays and words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Series:
    """A mean over runs and its 95 % band, all [points], and how it is drawn."""

    label: str
    """As in a legend."""
    method: str
    regularizer: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    """Lower end of the band; NaN where a single run gives none."""
    high: np.ndarray
    n: int
    """Units averaged."""
    unit: str
    """seeds, initializations or episodes."""
    learned: bool = True
    """False for hand-designed optimizers, which are drawn dashed."""
    ended: str = ""
    """Why the line ends before the others, such as "2 of 5 diverged"."""


@dataclass(frozen=True)
class ForestLine:
    """A paired comparison as it is drawn."""

    label: str
    """Who against whom."""
    group: str
    """On what; lines of one group stand together under it."""
    mean: float
    low: float
    high: float
    n: int
    unit: str
    p: float | None = None
    """Holm-corrected where the comparison says so."""

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero."""
        return bool(self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Spread:
    """Accuracies of one row on every test episode."""

    label: str
    method: str
    regularizer: str
    values: np.ndarray
    """In %, [episodes]; of several seeds: each episode's mean."""


@dataclass(frozen=True)
class Response:
    """Updates of one learned optimizer for given states."""

    label: str
    method: str
    regularizer: str
    state: np.ndarray
    """[points], drawn around zero."""
    update: np.ndarray
    """[points]"""
    lipschitz: float | None = None
    """Largest change of the update per change of the state."""


@dataclass(frozen=True)
class Cost:
    """One row: what came out and how long it took."""

    label: str
    method: str
    regularizer: str
    seconds: np.ndarray
    """Of meta-training, a seed each."""
    result: float
    half_width: float
    """Of the 95 % interval of `result`; NaN if there is none."""
    learned: bool = True
