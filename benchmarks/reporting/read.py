"""From records to rows."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.reporting.naming import flat
from benchmarks.reporting.rows import Row, group
from benchmarks.reporting.selection import Trained
from benchmarks.running.identity import config_sha256
from benchmarks.running.parallel import mapped
from benchmarks.running.record import Record, find_records, read_record
from benchmarks.running.schema import FewShotFacts, GeneralFacts, Point, TestRun
from fewshot.console import progress
from fewshot.errors import InputError

_SOURCE_RUN = ("weights", "seed")
"""What tells apart the meta-trainings of one configuration that a row of transferred optimizers pools."""
_SOURCE_CONFIG = ("optimizer_name", "config_sha256")
"""What differs between a transferred optimizer and its partner, whose sources have another regularizer."""


def load(folders: Sequence[Path]) -> list[Row]:
    """Read every record at or below `folders`; unreadable ones are named on standard error and left out.

    Records of other tracks, such as pre-trained backbones, are no rows and left out without a word.

    Raises:
        InputError: where a folder does not exist.
    """
    return load_files(list(find_records(folders)))


def load_files(paths: Sequence[Path], keep: Callable[[Row], bool] = lambda run: True) -> list[Row]:
    """As `load`, of records by their files; of these only runs (rows of one record) that are to be kept."""
    runs = []
    with mapped(_read, paths, least=500, chunk=50) as found, progress() as display:
        task = display.add_task("records", total=len(paths), note="")
        for run in found:
            display.advance(task)
            if isinstance(run, str):
                print(f"left out: {run}", file=sys.stderr)
            elif run is not None and keep(run):
                runs.append(run)
    return group(runs)


def rows_of(records: Iterable[Record]) -> list[Row]:
    """Rows of records at hand.

    Raises:
        InputError: where a record lacks what a table needs.
    """
    return group(run for record in records if (run := _row(record)) is not None)


def _read(path: Path) -> Row | str | None:
    """The row of one run, None for one of another track, or why it is left out."""
    try:
        return _row(read_record(path))
    except InputError as error:
        return str(error)


def _row(record: Record) -> Row | None:
    try:
        match record.facts:
            case FewShotFacts():
                return _few_shot(record, record.facts)
            case GeneralFacts():
                return _general(record, record.facts)
    except (KeyError, TypeError, ValueError, IndexError) as error:  # options are a dictionary, values may be missing
        name = record.path or "a record"
        raise InputError(f"{name} lacks what a table needs ({error!r:.100}); run again with --fresh") from error
    return None


def _few_shot(record: Record, facts: FewShotFacts) -> Row:
    config, manifest = facts.config, facts.manifests["test"]
    backbone = facts.backbone.sha256 if facts.backbone else ""
    tested_on = (facts.dataset.fingerprint, manifest.sha256)
    values = None
    if facts.status == "finished":
        values = 100 * np.asarray(record.results.best.correct, dtype=np.float64) / facts.queries_per_episode
    return Row(
        key=(facts.config_sha256, str(facts.transductive), *tested_on, backbone),
        track="few_shot",
        config=config,
        labels={name: config[name] for name in ("dataset", "way", "shot", "method", "regularizer")},
        metric="accuracy",
        problem="episodes",
        on=f"{config['dataset']}, {config['way']}-way {config['shot']}-shot",
        test={"episodes": manifest.count, "query": manifest.query, "test.seed": manifest.seed},
        tested_on=tested_on,
        partner=(config_sha256(_plain(config)), *tested_on, backbone),
        hashes={"data": tested_on[0], "test": tested_on[1], "backbone": backbone},
        hand_designed=False,
        transductive=facts.transductive,
        values={} if values is None else {facts.seed: values},
        records={facts.seed: record.light()},
        trained={},
    )


def _general(record: Record, facts: GeneralFacts) -> Row:
    transfer = facts.config["transfer"]
    config = facts.config if transfer is None else {**facts.config, "transfer": _without(transfer, _SOURCE_RUN)}
    plain = _plain(config)
    if transfer is not None:
        plain["transfer"] = _without(transfer, (*_SOURCE_RUN, *_SOURCE_CONFIG))
    tested_on = (facts.dataset.fingerprint, facts.protocol.sha256)
    losses = accuracies = None
    if facts.status == "finished":
        runs = sorted(record.results.best.runs, key=lambda run: run.initialization)
        if [run.initialization for run in runs] != list(range(len(runs))):
            raise ValueError("some initializations are missing")
        losses = _final(runs, lambda run: run.test_loss)
        accuracies = _final(runs, lambda run: run.test_accuracy)
    values = losses if accuracies is None else 100 * accuracies
    seed = facts.seed if transfer is None else transfer["seed"]
    labels = {"dataset": facts.dataset.name, "task": config["task"], "source": transfer["task"] if transfer else ""}
    return Row(
        key=(facts.config_sha256 if transfer is None else config_sha256(config), *tested_on),
        track="general",
        config=config,
        labels={**labels, "method": config["optimizer"], "regularizer": config["regularizer"]},
        metric="accuracy" if values is None or accuracies is not None else "loss",
        problem="initializations",
        on=f"{config['task']}, {facts.protocol.steps:,} steps",
        test={
            "initializations": facts.protocol.initializations,
            "points": facts.protocol.points,
            "batch_size": facts.protocol.batch_size,
            "test.seed": facts.protocol.seed,
            **flat(facts.protocol.task_facts),
        },
        tested_on=tested_on,
        partner=(config_sha256(plain), *tested_on),
        hashes={
            "data": tested_on[0],
            "test": tested_on[1],
            "source": str(transfer["config_sha256"]) if transfer else "",
        },
        hand_designed=config["core"] is None,
        transductive=False,
        values={} if values is None else {seed: values},
        records={seed: record.light()},
        trained=_trained(record, facts, seed),
        losses={} if losses is None else {seed: losses},
    )


class _Slope(msgspec.Struct):
    lipschitz: float


class _Validated(msgspec.Struct):
    """Of the details of a general run, what the facts of older ones lack."""

    validation: Sequence[Point] = []
    smoothness: _Slope | None = None


def _trained(record: Record, facts: GeneralFacts, seed: int) -> dict[int, Trained]:
    if facts.config["core"] is None:
        return {}
    training, lipschitz = facts.training, facts.lipschitz
    if lipschitz is not None and training is not None and training.clipped is not None:
        known, last = True, training.last_loss
    else:
        details = record.details_as(_Validated)
        lipschitz = details.smoothness.lipschitz if details.smoothness else None
        known, last = bool(details.validation), details.validation[-1].get("loss") if details.validation else None
    last = math.inf if known and last is None else last
    if training is None:  # meta-trained elsewhere
        return {seed: Trained(lipschitz, None, last)}
    best = training.best_loss
    return {seed: Trained(lipschitz, best, last, training.best_unroll, training.exploded, training.clipped)}


def _final(runs: Sequence[TestRun], curve: Callable[[TestRun], Sequence[float] | None]) -> np.ndarray | None:
    """[initializations], NaN where a run diverged; None where the task has no such number."""
    last = []
    for run in runs:
        values = curve(run)
        if values is None:
            return None
        last.append(np.nan if run.diverged_at is not None else values[-1])
    return np.asarray(last, dtype=np.float64)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "regularizer": "none", "penalty": None}


def _without(options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}
