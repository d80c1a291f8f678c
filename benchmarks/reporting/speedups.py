"""Speed-ups of the rows of the general track over Adam with the best rate of its grid at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from benchmarks.reporting.crossed.speedup import SpeedUp, envelope, speed_up
from benchmarks.reporting.rows import Row
from benchmarks.running.identity import config_sha256
from benchmarks.running.schema import RateCurves

REFERENCE = "adam"
"""The optimizer whose records hold an envelope."""
_LENGTH = ("steps", "points", "initializations", "sha256")
"""Of a protocol, what leaves the problems as they are: how many there are, and how long and closely each is watched."""


@dataclass(frozen=True, eq=False)
class _Envelope:
    """Of one record of the reference."""

    losses: np.ndarray
    """[problems, points]."""
    steps: np.ndarray
    """[points]."""


class _Rated(msgspec.Struct):
    """Of the details of a general run, the envelope alone."""

    envelope: RateCurves | None = None


def speed_ups(rows: Sequence[Row]) -> dict[tuple[str, ...], SpeedUp]:
    """The speed-up of every row, by its key, that a record of the reference among `rows` allows.

    Of several on the same problems the longest counts that has as many of them: no ratio exceeds its last step over a
    row's.

    Args:
        rows: of `read.load`; of the general track those with losses on the problems of an envelope, or on the first of
            them, are compared with it.
    """
    envelopes: dict[str, list[_Envelope]] = {}
    for row in rows:
        if (found := _envelope(row)) is not None:
            envelopes.setdefault(_problems(row), []).append(found)
    compared = [row for row in rows if envelopes and row.losses]
    ratios = {row.key: _speed_up(row, envelopes.get(_problems(row), ())) for row in compared}
    return {key: found for key, found in ratios.items() if found is not None}


def _envelope(row: Row) -> _Envelope | None:
    if row.track != "general" or row.method != REFERENCE:
        return None
    for record in row.finished:
        curves = record.details_as(_Rated).envelope
        if curves is not None and curves.step[-1] > 0:
            return _Envelope(envelope(curves.losses()), np.array(curves.step, dtype=np.float64))
    return None


def _problems(row: Row) -> str:
    """Equal in rows whose problems of equal index are the same."""
    protocol = next(iter(row.records.values())).facts.protocol
    named = {name: value for name, value in msgspec.structs.asdict(protocol).items() if name not in _LENGTH}
    return config_sha256(named)


def _speed_up(row: Row, references: Sequence[_Envelope]) -> SpeedUp | None:
    """None where every reference has fewer problems, or no problem has a loss of every seed."""
    losses = row.table(values=row.losses)
    problems = losses.shape[-1]
    enough = [found for found in references if len(found.losses) >= problems]
    if not enough:
        return None
    reference = max(enough, key=lambda found: (found.steps[-1], found.losses.shape))
    steps = next(iter(row.records.values())).facts.protocol.steps
    found = speed_up(losses, steps, reference.losses[:problems], reference.steps)
    return None if np.isnan(found.log.mean) else found
