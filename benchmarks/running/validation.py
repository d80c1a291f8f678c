"""What meta-training reached on every validation problem: a JSON file, all that a choice among settings may look at.

    {"version": 1, "digest": …, "facts": {…}, "values": […], "measured": {…}}

It holds nothing of a test, which has not taken place when it is written.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.running.schema import DatasetFacts, Environment, Measured, Part
from fewshot.errors import InputError
from fewshot.files import replacing

VALIDATION_NAME = "validation.json"
_VERSION = 1
_REMEDY = "delete it or run again with --fresh"


class ValidationFacts(Part, frozen=True):
    """What was trained, and what it was validated on."""

    config: dict[str, Any]
    config_sha256: str
    seed: int
    dataset: DatasetFacts
    environment: Environment
    problems: str
    """What decides the validation problems: only values with the same are of the same problems."""
    higher_is_better: bool
    done: int
    """Episodes or unrolls."""
    total: int
    """Of the whole meta-training."""
    failure: str | None
    """Why meta-training could not go on."""


class Validation(Part, frozen=True):
    """Of the best model so far."""

    facts: ValidationFacts
    values: list[float | None]
    """By problem: accuracy as a fraction, or loss; None where it diverged, everywhere where meta-training failed."""
    measured: Measured

    @property
    def table(self) -> np.ndarray:
        """[problems], NaN where there is no value."""
        return np.array([math.nan if value is None else value for value in self.values])


class _File(Part, frozen=True):
    version: int
    digest: str
    facts: ValidationFacts
    values: list[float | None]
    measured: Measured


def write_validation(path: Path, facts: ValidationFacts, values: Sequence[float], measured: Measured) -> Validation:
    """Write one, completely or not at all; values that are not finite become None.

    Raises:
        InputError: where the folder cannot be written, or the disk is full.
    """
    kept = [float(value) if math.isfinite(value) else None for value in values]
    text = msgspec.json.encode(
        _File(version=_VERSION, digest=_digest(facts, kept), facts=facts, values=kept, measured=measured)
    )
    with replacing(path) as temporary:
        temporary.write_bytes(text)
    return Validation(facts=facts, values=kept, measured=measured)


def read_validation(path: Path) -> Validation:
    """Read one, and check its digest.

    Raises:
        InputError: where it is none, or was changed after it was written.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no readable validation ({error!r:.100}); {_REMEDY}") from error
    if file.version != _VERSION or file.digest != _digest(file.facts, file.values):
        raise InputError(f"{path} was changed after it was written, or is of another version; {_REMEDY}")
    return Validation(facts=file.facts, values=file.values, measured=file.measured)


def _digest(facts: ValidationFacts, values: Sequence[float | None]) -> str:
    return hashlib.sha256(msgspec.json.encode([facts, values])).hexdigest()


def validation_path(folder: Path, stop_at: int | None) -> Path:
    """Of a run, stopped early or not."""
    return folder / (VALIDATION_NAME if stop_at is None else f"validation-{stop_at}.json")
