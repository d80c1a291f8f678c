"""What figures and the page's charts show, as plain data: panels, axes, lines, notes. Nothing here knows of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.reporting.style import LineStyle

BANDS = 6
"""Of more lines in one panel none has a band: bands would hide lines."""
Form = Literal["lines", "points", "histograms", "forest"]
"""How the lines of a plot are drawn."""


@dataclass(frozen=True)
class Axis:
    """Of a panel."""

    title: str
    """With its unit."""
    scale: Literal["linear", "log", "symlog"] = "linear"
    """symlog: logarithmic, and zero is on it."""
    ends: tuple[float, float] | None = None
    """Beyond which there is no value."""


@dataclass(frozen=True, eq=False)
class Line:
    """A line, a histogram or a point, with its name and look."""

    label: str
    legend: str
    """The label, and what it stands for."""
    method: str
    regularizer: str
    style: LineStyle
    x: np.ndarray
    """[points]; edges [points + 1] of a histogram."""
    y: np.ndarray
    low: np.ndarray | None = None
    """Lower end of y's interval, [points]; NaN or None where there is none."""
    high: np.ndarray | None = None
    x_low: np.ndarray | None = None
    """Lower end of a range of x, [points]; None where there is none."""
    x_high: np.ndarray | None = None
    ended: bool = False
    """It ends before the others."""
    quartiles: tuple[float, float, float] | None = None
    """Of the values in a histogram."""
    mean: float | None = None
    """Of the values in a histogram."""


@dataclass(frozen=True)
class ForestLine:
    """A paired difference, or a ratio, with its interval."""

    section: str
    """On what; lines of one section stand together under it."""
    label: str
    """Who against whom."""
    mean: float
    low: float
    """NaN where a single unit gives none; 0 of a ratio whose lower end is not known."""
    high: float
    """Infinite where it is not known."""
    words: str
    """Its numbers."""
    decided: bool
    """There is a difference: the interval excludes none, at which it may end."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One set of axes. What its lines are decides how it is drawn."""

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    forest: Sequence[ForestLine] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.lines or self.forest)

    @property
    def range(self) -> tuple[float, float] | None:
        """Of y: all of its lines; a band may leave it."""
        return limits([line.y for line in self.lines], self.y.scale == "log", self.y.ends)

    @property
    def neutral(self) -> float:
        """Of a forest: no difference, or the ratio of equals."""
        return 1.0 if self.x.scale == "log" else 0.0

    @property
    def reach(self) -> tuple[float, float]:
        """Of x, of a forest: all that is finite, and what is neutral; open ends go as far."""
        ends = [np.array([line.low, line.mean, line.high, self.neutral]) for line in self.forest]
        return limits(ends, self.x.scale == "log") or (-1.0, 1.0)

    @property
    def floor(self) -> float:
        """A band that reaches below is left out there, as it would fill the panel."""
        return self.range[0] if self.y.scale == "log" and self.range else -np.inf

    @property
    def cut(self) -> bool:
        """Whether a band is left out somewhere."""
        return any(line.low is not None and bool((line.low <= self.floor).any()) for line in self.lines)


@dataclass(frozen=True, eq=False)
class Plot:
    """One figure, or one chart of the page."""

    kind: str
    form: Form
    name: str
    """For file names and links; begins with the kind."""
    title: str
    note: str
    dataset: str
    """What the page filters by; empty where it is of several."""
    panels: Sequence[Sequence[Panel]]
    """Rows of a figure; tabs of a chart, column by column."""


def limits(
    values: Sequence[np.ndarray], log: bool, ends: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """An axis range that shows all finite `values` with a margin, within `ends`; wide bands may leave it."""
    joined = np.concatenate([np.ravel(v) for v in values]) if len(values) else np.empty(0)
    joined = joined[np.isfinite(joined) & ((joined > 0) | (not log))]
    if not len(joined):
        return None
    low, high = float(joined.min()), float(joined.max())
    if log:
        margin = max((high / low) ** 0.06, 1.05)
        return low / margin, high * margin
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    least, most = ends or (-np.inf, np.inf)
    return max(low - margin, least), min(high + margin, most)
