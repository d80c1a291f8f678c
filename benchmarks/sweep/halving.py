"""Successive halving: settings that do badly early in meta-training are not trained to its end.

The rule is Optuna's `SuccessiveHalvingPruner` (L. Li et al., A System for Massively Parallel Hyperparameter Tuning,
MLSys 2020). Optuna and not Ray Tune, because it only decides, where the driver runs: trials stay runs like all others,
on either engine, continued from their checkpoints. Settings are asked about in an order drawn once, after all of a rung
are there, so that no decision depends on which run ended first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fewshot.errors import InputError

RUNGS = 3
"""At most, the end of meta-training included."""


def rungs(total: int, every: int, factor: int) -> list[int]:
    """Where trials stop to be compared, the end included: each `factor` times as far as the one before.

    Args:
        total: episodes or unrolls.
        every: that lie between validations; trials stop at one.
        factor: of which one in so many settings goes on.
    """
    stops = [round(total / factor**k / every) * every for k in range(1, RUNGS)]
    return [*sorted({stop for stop in stops if 0 < stop < total}), total]


class Halving:
    """Decides which settings of one side go on; made anew, it decides the same again."""

    def __init__(self, settings: int, higher_is_better: bool, factor: int) -> None:
        """Begin with all settings.

        Raises:
            InputError: where Optuna is not installed.
        """
        optuna = import_optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
        study = optuna.create_study(direction="maximize" if higher_is_better else "minimize", pruner=pruner)
        self._trials = [study.ask() for _ in range(settings)]
        self._order: list[int] = np.random.Generator(np.random.Philox(0)).permutation(settings).tolist()
        self._factor, self._rung = factor, 0

    def going_on(self, live: Sequence[int], score: Callable[[int], float]) -> list[int]:
        """Those of the live settings that are trained to the next rung.

        Args:
            live: settings at this rung.
            score: mean validation value of one; NaN where it has none, and does not go on.
        """
        step, kept = self._factor**self._rung, []
        for i in (i for i in self._order if i in live):
            self._trials[i].report(score(i), step)
            if not self._trials[i].should_prune():
                kept.append(i)
        self._rung += 1
        return sorted(kept)


def import_optuna() -> Any:
    """Optuna, an optional dependency.

    Raises:
        InputError: where it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise InputError(
            "--halving needs Optuna; install it with `pip install optuna`, or leave --halving out"
        ) from None
    return optuna
