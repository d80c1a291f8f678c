"""Reading a meta-trained optimizer, to test it on another task or horizon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.general.config import OptimizeConfig, Transfer
from benchmarks.running.record import RECORD_NAME, read_record
from fewshot.optimizers import CoordinatewiseOptimizer
from fewshot.optimizers.optimizer_file import load_optimizer
from fewshot.regularizers import PenaltyOptions


def read_optimizer(path_or_name: str, config: OptimizeConfig) -> tuple[OptimizeConfig, CoordinatewiseOptimizer]:
    """A meta-trained optimizer, and the configuration of testing it as `config` says.

    Args:
        path_or_name: as `load_optimizer`.
        config: whose task and test options count.

    Raises:
        InputError: as `load_optimizer`.
    """
    core, card = load_optimizer(path_or_name)
    record = Path(path_or_name).parent / RECORD_NAME
    transfer = Transfer(
        weights=card.sha256,
        optimizer_name=Path(path_or_name).stem,
        task=card.task,
        config_sha256=read_record(record)["config_sha256"] if record.is_file() else None,
        seed=card.seed,
    )
    found = replace(
        config,
        optimizer=card.optimizer,
        regularizer=card.regularizer,
        penalty=PenaltyOptions(**card.penalty),
        core=core.options,
        transfer=transfer,
    )
    return found, core
