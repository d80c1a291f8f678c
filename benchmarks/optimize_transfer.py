"""Reading a meta-trained optimizer from the folder of its run, to test it on another task or horizon."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from benchmarks.optimize_config import OptimizeConfig, Transfer
from benchmarks.record import RECORD_NAME, read_record
from fewshot.errors import InputError
from fewshot.general.meta_train import UnrollOptions
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.regularizers import REGULARIZERS, PenaltyOptions


def read_optimizer(path: Path, config: OptimizeConfig) -> tuple[OptimizeConfig, CoordinatewiseOptimizer]:
    """The optimizer that a run left, and the configuration of testing it as `config` says.

    Args:
        path: of best.safetensors or last.safetensors beside a record.
        config: whose task and test options count.

    Raises:
        InputError: where the file or the record beside it is absent, damaged, or of no learned optimizer.
    """
    if not path.is_file():
        raise InputError(
            f"evaluate: {path} does not exist; give best.safetensors of a finished run of benchmarks.optimize"
        )
    record = read_record(path.parent / RECORD_NAME)
    trained = record["config"]
    if record.get("track") != "general" or trained["optimizer"] not in LEARNED:
        raise InputError(f"evaluate: {path} belongs to a run without a learned optimizer; choose another")
    content = path.read_bytes()
    try:
        options = LEARNED[trained["optimizer"]].Options(**trained["core"])
        penalty = PenaltyOptions(**(trained["penalty"] or {}))
        core = LEARNED[trained["optimizer"]](torch.Generator(), options)
        core = REGULARIZERS[trained["regularizer"]](penalty).attach(core)
        core.load_state_dict(load(content))
    except (SafetensorError, RuntimeError, TypeError, KeyError) as error:
        raise InputError(
            f"evaluate: {path} does not fit the record beside it ({error!r:.120}); run its command again with --fresh"
        ) from error
    assert isinstance(core, CoordinatewiseOptimizer)
    transfer = Transfer(
        weights=hashlib.sha256(content).hexdigest(),
        optimizer_name=path.stem,
        task=trained["task"],
        config_sha256=record["config_sha256"],
        seed=record["seed"],
    )
    found = replace(
        config,
        optimizer=trained["optimizer"],
        regularizer=trained["regularizer"],
        penalty=penalty,
        core=options,
        training=UnrollOptions(**trained["training"]),
        transfer=transfer,
    )
    return found, core
