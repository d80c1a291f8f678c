"""Reading a meta-trained optimizer, to test it on another task or horizon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.general.config import GeneralConfig, Transfer
from benchmarks.running.record import RECORD_NAME, read_record
from fewshot.optimizers import CoordinatewiseOptimizer
from fewshot.optimizers.optimizer_file import load_optimizer
from fewshot.regularizers import REGULARIZERS


def read_optimizer(path_or_name: str, config: GeneralConfig) -> tuple[GeneralConfig, CoordinatewiseOptimizer]:
    """A meta-trained optimizer, and the configuration of testing it as `config` says.

    Args:
        path_or_name: as `load_optimizer`.
        config: whose task, test and batch size count.

    Raises:
        InputError: as `load_optimizer`.
    """
    core, card = load_optimizer(path_or_name)
    record = Path(path_or_name).parent / RECORD_NAME
    transfer = Transfer(
        weights=card.sha256,
        optimizer_name=Path(path_or_name).stem,
        task=card.task,
        config_sha256=read_record(record).facts.config_sha256 if record.is_file() else None,
        seed=card.seed,
    )
    regularizer = REGULARIZERS.get(card.regularizer)  # of a plug-in that is not here: a name is all that testing needs
    tested = replace(
        config,
        optimizer=card.optimizer,
        regularizer=card.regularizer,
        penalty=regularizer.Options(**card.penalty) if regularizer is not None else card.penalty,
        core=core.options,
        transfer=transfer,
    )
    return tested, core
