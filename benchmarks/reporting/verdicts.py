"""Verdicts on the paper's claims, ready to be laid out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

VERDICTS = ("supported", "contradicted", "not decided")


@dataclass(frozen=True)
class Verdict:
    """What the records say about one claim."""

    text: str
    verdict: str
    """One of `VERDICTS`."""
    mean: float
    low: float
    high: float
    """NaN where nothing was run, or where there is no interval."""
    unit: str
    """Of the difference, such as points."""
    n: str
    """What the interval is over."""
    power: str
    """What would decide it; empty where it is decided."""

    @property
    def known(self) -> bool:
        """Whether there is any result."""
        return math.isfinite(self.mean)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True)
class Scale:
    """A symmetric axis for intervals, in percent of its width."""

    reach: float
    """Value at the right end; the left end is its negative."""

    def place(self, value: float) -> float:
        """Where a value stands, clipped to the axis."""
        return round(min(100.0, max(0.0, 50 + 50 * value / self.reach)), 2)


def scales_of(verdicts: Sequence[Verdict]) -> dict[str, Scale]:
    """One a unit, wide enough for three quarters of the intervals: one of two seeds must not flatten the others."""
    reaches: dict[str, list[float]] = {}
    for v in verdicts:
        if v.known:
            ends = [abs(value) for value in (v.mean, v.low, v.high) if math.isfinite(value)]
            reaches.setdefault(v.unit, []).append(max(ends))
    return {unit: Scale(1.15 * (_quantile(ends, 0.75) or 1.0)) for unit, ends in reaches.items()}


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def verdicts_of(claims: Sequence[Any]) -> list[Verdict]:
    """Claims, mappings or objects with the fields text, verdict, interval, n and power, in their order."""
    return [_verdict(claim if isinstance(claim, Mapping) else vars(claim)) for claim in claims]


def _verdict(claim: Mapping[str, Any]) -> Verdict:
    interval = claim.get("interval")
    low, high = (math.nan, math.nan) if interval is None else map(float, interval)
    mean = claim.get("mean", (low + high) / 2)
    n, power = claim.get("n"), claim.get("power")
    return Verdict(
        claim["text"], claim["verdict"], float(mean), low, high, claim.get("unit", "points"), str(n or ""), power or ""
    )
