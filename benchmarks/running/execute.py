"""Running an experiment once: under a lock, from where it stopped, or not at all where it is finished."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.running.command import Execution, MetaTrainingExecution
from benchmarks.running.device import device_name
from benchmarks.running.environment import commit, peak_memory, processor, versions
from benchmarks.running.record import RECORD_NAME, Record, read_record
from benchmarks.running.schema import DatasetFacts, Environment, Measured
from benchmarks.running.validation import Validation, read_validation, validation_path
from fewshot.console import say
from fewshot.errors import InputError
from fewshot.files import only_one
from fewshot.registry import Registry

CHECKPOINT_NAME = "checkpoint.pt"


class Experiment(Protocol):
    """One configuration with one seed, checked and ready."""

    folder: Path
    """Where it is recorded."""

    def check(self, record: Record) -> None:
        """Refuse an earlier record that speaks of other data or weights than those at hand, with an `InputError`."""
        ...

    def execute(self) -> Record:
        """Do the work, continuing from a checkpoint, and write the record."""
        ...

    def validate(self, path: Path) -> Validation:
        """Do the work up to the test, or to where the command stops, and write what came out on validation problems."""
        ...


def run(experiment: Experiment, command: Execution, seed: int) -> Record:
    """Execute an experiment, or return its record where it is finished.

    Raises:
        InputError: where another process runs it, or an earlier record does not fit.
    """
    # before the lock: shown from any disk
    if not command.fresh and (record := _finished(experiment, seed)) is not None:
        return record
    with only_one(experiment.folder, "running the same command", command.wait):
        if command.fresh:
            discard(experiment.folder)
        record = _finished(experiment, seed)  # another process may have finished it meanwhile
        return experiment.execute() if record is None else record


def run_seeds(command: Execution, make: Callable[[int], Experiment]) -> list[Record]:
    """Run one experiment a seed, one after the other; says which failed."""
    records = [run(make(seed), command, seed) for seed in command.seeds]
    for record in records:
        if record.facts.failure:
            say(f"seed {record.facts.seed} failed: {record.facts.failure}")
    return records


def validate_seeds(command: MetaTrainingExecution, make: Callable[[int], Experiment]) -> None:
    """Meta-train one experiment a seed, one after the other, without a test; says where the outcome lies.

    Raises:
        InputError: as `run`.
    """
    for seed in command.seeds:
        experiment = make(seed)
        path = validation_path(experiment.folder, command.stop_at)
        with only_one(experiment.folder, "running the same command", command.wait):
            if command.fresh:
                discard(experiment.folder)
            found = read_validation(path) if path.exists() else experiment.validate(path)
        facts = found.facts
        how = "failed: " + facts.failure if facts.failure else f"validated {np.nanmean(found.table):.4f}"
        say(f"seed {seed}, {facts.done} of {facts.total}: {how} ({path})")


def end(records: Sequence[Record]) -> None:
    """End the command with status 1 where a run failed.

    Raises:
        SystemExit: then.
    """
    if any(record.facts.failure for record in records):
        raise SystemExit(1)


def discard(folder: Path) -> None:
    """Remove what an earlier run left in its folder, but for the lock that is held there."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def check_dataset(record: Record, dataset: DatasetFacts) -> None:
    """Refuse a record of another version of the dataset.

    Raises:
        InputError: naming the record.
    """
    if record.facts.dataset.fingerprint != dataset.fingerprint:
        raise InputError(f"{record.path} was made with another version of {dataset.name}; run again with --fresh")


def check_computation(record: Record, theirs: int, ours: int) -> None:
    """Refuse a record of another version of the computation.

    Raises:
        InputError: naming the record.
    """
    if theirs != ours:
        raise InputError(
            f"{record.path} has version {theirs} of the computation, this program {ours} (CHANGELOG.md);"
            " run again with --fresh, or give another --results"
        )


def environment(device: torch.device, used: Iterable[tuple[Registry[Any], str]]) -> Environment:
    """What a run is computed with.

    Args:
        device: where.
        used: what it takes by name, and from which registry.
    """
    origins = dict.fromkeys(registry.origin(name) for registry, name in used)
    plugins = tuple(origin for origin in origins if origin is not None)
    return Environment(
        versions=versions(),
        commit=commit(),
        device=device_name(device),
        threads=torch.get_num_threads(),
        plugins=plugins,
        processor=processor(),
    )


def measured(train_seconds: float, test_seconds: float = 0.0, interruptions: int = 0) -> Measured:
    """What this execution took, up to now."""
    return Measured(
        train_seconds=train_seconds,
        test_seconds=test_seconds,
        peak_memory_bytes=peak_memory(),
        interruptions=interruptions,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _finished(experiment: Experiment, seed: int) -> Record | None:
    path = experiment.folder / RECORD_NAME
    if not path.exists():
        return None
    record = read_record(path)
    experiment.check(record)
    say(f"seed {seed} was finished before: {path} (--fresh runs it again)")
    return record
