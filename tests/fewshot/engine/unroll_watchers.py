"""Observers of meta-training for tests."""

from __future__ import annotations


class Quiet:
    def step(self, unroll: int, scalars: dict[str, float]) -> None: ...

    def validated(self, unroll: int, loss: float, best: bool) -> None: ...


class Killed(Exception):
    """Stands for the end of the process."""


class KilledAt(Quiet):
    def __init__(self, unroll: int) -> None:
        self.unroll = unroll

    def step(self, unroll: int, scalars: dict[str, float]) -> None:
        if unroll == self.unroll:
            raise Killed
