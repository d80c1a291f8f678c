"""Speed-up over a tuned optimizer: the steps it needs for the same loss.

As the normalizers of learned_optimization (L. Metz et al., Practical tradeoffs between memory, compute, and
performance in learned optimizers, 2022) do, a tuned optimizer is the best of a grid of rates at every step. There a
speed-up stands without an interval; here its logarithm is analysed over seeds and problems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.reporting.crossed.analysis import Analysis, mean_of
from benchmarks.reporting.crossed.missing import worst_case


@dataclass(frozen=True)
class SpeedUp:
    """How many times as many steps the envelope needs, as a geometric mean over seeds and problems."""

    log: Analysis
    """Of the logarithm of the ratio."""
    worst: Analysis
    """The same, where a run that diverged counts as the smallest ratio of all."""
    censored: int
    """Cells in which the envelope never has the loss: they count as if it had at its last step, so that the mean is a
    lower bound where there are any."""
    immediate: int
    """Cells in which the envelope has the loss by its first step after the start: they count as that step."""

    @property
    def ratio(self) -> float:
        """Above 1: faster than the envelope."""
        return math.exp(self.log.mean)

    @property
    def bound(self) -> Literal["", "at least", "at most", "unknown"]:
        """What the ratio is where the envelope does not tell that of every cell; unknown: cells of both kinds."""
        if self.censored and self.immediate:
            return "unknown"
        return "at least" if self.censored else "at most" if self.immediate else ""

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Of the ratio, with runs that diverged and without; from 0 or to infinity where `bound` leaves that end open.

        NaN where a single cell gives none.
        """
        both = (self.log,) if self.worst is self.log else (self.log, self.worst)
        lows, highs = zip(*(found.interval(confidence) for found in both), strict=True)
        low, high = math.exp(min(lows)), math.exp(max(highs))
        if math.isnan(low):
            return low, high
        return (
            0.0 if self.bound in ("at most", "unknown") else low,
            math.inf if self.bound in ("at least", "unknown") else high,
        )


def envelope(losses: ArrayLike) -> np.ndarray:
    """The lowest loss that any rate has had by each step: a rate for every problem and step, chosen in hindsight.

    Args:
        losses: [rates, problems, points]; what is not finite is no loss.

    Returns:
        [problems, points], never rising; infinite before the first loss.
    """
    losses = np.asarray(losses, dtype=np.float64)
    return np.minimum.accumulate(np.where(np.isfinite(losses), losses, np.inf).min(axis=0), axis=-1)


def steps_needed(envelopes: ArrayLike, steps: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """Steps after which the envelope first has a loss, on a straight line between its points.

    Args:
        envelopes: [problems, points], never rising.
        steps: [points], ascending.
        targets: [seeds, problems] or [problems], losses.

    Returns:
        As `targets`: infinite where the envelope never has it, NaN where the target is not finite.
    """
    envelopes, steps, targets = (np.asarray(x, dtype=np.float64) for x in (envelopes, steps, targets))
    reached = envelopes <= targets[..., None]
    after = reached.argmax(axis=-1)
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(envelopes))
    high, low = envelopes[rows, before], envelopes[rows, after]
    with np.errstate(invalid="ignore", divide="ignore"):  # the first point; a point after divergence
        share = np.where((high > low) & np.isfinite(high), (high - targets) / (high - low), 1.0)
    found = steps[before] + share * (steps[after] - steps[before])
    found = np.where(reached.any(axis=-1), found, np.inf)
    return np.where(np.isfinite(targets), found, np.nan)


def speed_up(targets: ArrayLike, after: float, envelopes: ArrayLike, steps: ArrayLike) -> SpeedUp:
    """Steps of the envelope for the losses that an optimizer has, over the steps it took.

    Args:
        targets: [seeds, problems], or [problems] of an optimizer without seeds: its losses after `after` steps; not
            finite where it diverged.
        after: steps, above 0.
        envelopes, steps: as `steps_needed` takes them; a ratio cannot exceed the last step over `after`.

    Raises:
        ValueError: where the shapes do not fit, or there is no step above 0.
    """
    targets, envelopes, steps = (np.asarray(x, dtype=np.float64) for x in (targets, envelopes, steps))
    if targets.shape[-1:] != envelopes.shape[:1] or envelopes.shape[1:] != steps.shape:
        raise ValueError(f"targets {targets.shape}, envelopes {envelopes.shape} and steps {steps.shape} do not fit")
    if not after > 0 or not (steps > 0).any():
        raise ValueError(f"a speed-up needs steps above 0, not {after} and envelopes up to step {steps.max()}")
    needed = steps_needed(envelopes, steps, targets)
    first, last = steps[steps > 0][0], steps[-1]
    ratios = np.log(np.clip(needed, first, last) / after)
    log = mean_of(ratios)
    worst = mean_of(*worst_case([ratios], higher_is_better=True)) if log.missing else log
    return SpeedUp(log, worst, int(np.isinf(needed).sum()), int((needed <= first).sum()))
