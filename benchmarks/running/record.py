"""The record of one run: a JSON file with everything a table needs, so that no log is ever parsed.

    {"record_version": 2, "digest": …, "facts": {…}, "results": {…}, "details": {…}, "measured": {…}}

This module is the only writer and the only reader of records. A part is decoded when it is asked for, and checked
against `schema` then.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from benchmarks.running.migrations import migrate_1
from benchmarks.running.schema import AnyFacts, Measured, Part
from fewshot.errors import InputError
from fewshot.files import replacing

RECORD_VERSION = 2
RECORD_NAME = "record.json"
DEFAULT_RESULTS = Path("results/runs")

T = TypeVar("T")
_REMEDY = "delete it or run again with --fresh"


@dataclass(frozen=True, eq=False)
class Record:
    """One record. `facts` and `measured` are at hand; `results` and `details` are decoded anew at every call."""

    facts: Any
    """A `FewShotFacts`, `GeneralFacts` or `PretrainingFacts`."""
    measured: Measured
    digest: str
    """SHA-256 over everything that is the same however often the command is run or interrupted."""
    path: Path | None = None
    """Of its file; None where it was never written."""
    _parts: tuple[bytes, bytes] | None = field(default=None, repr=False)
    """Results and details as JSON; None where they are to be read from the file."""

    @classmethod
    def of(cls, facts: AnyFacts, results: Part | None, details: Part, measured: Measured | None = None) -> Record:
        """A record of its parts; every part is checked against the schema.

        Raises:
            ValueError: where a part is not what its type says, such as a number that is not finite.
        """
        measured = measured or Measured()
        encoded = [_checked(part, kind) for part, kind in _kinds(facts, results, details)]
        _checked(measured, Measured)
        return cls(facts, measured, _digest(encoded), None, (encoded[1], encoded[2]))

    @property
    def results(self) -> Any:
        """The value on every test problem, of the type `facts.Results`; None of a run that failed.

        Raises:
            InputError: as `whole`, or where they are not what the schema says.
        """
        return self._decoded(0, self.facts.Results | None)

    @property
    def details(self) -> Any:
        """Curves, of the type `facts.Details`; errors as `results`."""
        return self._decoded(1, self.facts.Details)

    def details_as(self, kind: type[T]) -> T:
        """Of the details only what `kind`, a msgspec struct, declares: the rest is passed over unread."""
        return self._decoded(1, kind)

    def light(self) -> Record:
        """The same record without its results and details, which are read from its file again when they are needed."""
        return self if self.path is None else replace(self, _parts=None)

    def whole(self) -> Record:
        """The same record with its results and details at hand, its file read once.

        Raises:
            InputError: where the file is gone, or was written anew meanwhile.
        """
        return self if self._parts is not None else replace(self, _parts=self._raw())

    def write(self, path: Path) -> Record:
        """Write the file, completely or not at all; returns the record with its path.

        Raises:
            InputError: where the folder cannot be written or the disk is full, or as `whole`.
        """
        text, digest = self._encoded()
        with replacing(path) as temporary:
            temporary.write_bytes(text)
        return replace(self, path=path, digest=digest)

    def encoded(self) -> bytes:
        """What `write` writes; errors as `whole`."""
        return self._encoded()[0]

    def _encoded(self) -> tuple[bytes, str]:
        """The text of a file, and its digest: not that of the file of an older version."""
        encode = msgspec.json.encode
        facts, (results, details) = encode(self.facts), self._raw()
        digest = _digest([facts, results, details])
        members = {
            b"record_version": b"%d" % RECORD_VERSION,
            b"digest": encode(digest),
            b"facts": facts,
            b"results": results,
            b"details": details,
            b"measured": encode(self.measured),
        }
        text = b",\n".join(b'"%b": %b' % member for member in members.items())
        return b"{" + text + b"}\n", digest

    def _raw(self) -> tuple[bytes, bytes]:
        if self._parts is not None:
            return self._parts
        assert self.path is not None
        whole = read_record(self.path)
        if whole.digest != self.digest:
            raise InputError(f"{self.path} was written anew while it was read; run the command again")
        assert whole._parts is not None
        return whole._parts

    def _decoded(self, part: int, kind: Any) -> Any:
        try:
            return msgspec.json.decode(self._raw()[part], type=kind)
        except msgspec.ValidationError as error:
            raise _invalid(self.path, error) from error


class _File(msgspec.Struct, forbid_unknown_fields=True):
    record_version: int
    digest: str
    facts: msgspec.Raw
    results: msgspec.Raw
    details: msgspec.Raw
    measured: Measured


class _Version(msgspec.Struct):
    record_version: int


_FILE, _FACTS = msgspec.json.Decoder(_File), msgspec.json.Decoder(AnyFacts)


def read_record(path: Path) -> Record:
    """Read one record and check its digest; one of an older version is brought to the current one.

    Raises:
        InputError: where it is no record, of a version without a way to this one, or was changed after it was written.
    """
    try:
        text = path.read_bytes()
        if msgspec.json.decode(text, type=_Version).record_version != RECORD_VERSION:
            return _older(text, path)
        file = _FILE.decode(text)
        facts = _FACTS.decode(file.facts)
    except msgspec.ValidationError as error:
        raise _invalid(path, error) from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not a readable record ({error!r:.100}); {_REMEDY}") from error
    parts = [bytes(part) for part in (file.facts, file.results, file.details)]
    if _digest(parts) != file.digest:
        parts = _rewritten(parts, facts, path)
        if _digest(parts) != file.digest:
            raise InputError(f"{path} was changed after it was written (digest); {_REMEDY}")
    return Record(facts, file.measured, file.digest, path, (parts[1], parts[2]))


def _rewritten(parts: Sequence[bytes], facts: AnyFacts, path: Path) -> list[bytes]:
    """The parts of a file that was laid out by hand, or by another program, as this one writes them."""
    kinds = (AnyFacts, facts.Results | None, facts.Details)
    try:
        return [
            msgspec.json.encode(msgspec.json.decode(part, type=kind)) for part, kind in zip(parts, kinds, strict=True)
        ]
    except msgspec.ValidationError as error:
        raise _invalid(path, error) from error


def _older(text: bytes, path: Path) -> Record:
    version = msgspec.json.decode(text, type=_Version).record_version
    if version != 1:
        raise InputError(
            f"{path} has record version {version}, this program reads 1 and {RECORD_VERSION}; run again with --fresh"
        )
    try:
        old = json.loads(text)
        if _digest_1(old) != old["digest"]:
            raise InputError(f"{path} was changed after it was written (digest); {_REMEDY}")
        new = migrate_1(old)
        facts = msgspec.convert(new["facts"], AnyFacts)
        parts = [(new["results"], facts.Results | None), (new["details"], facts.Details)]
        results, details = (msgspec.convert(part, kind) for part, kind in parts)
        record = Record.of(facts, results, details, msgspec.convert(new["measured"], Measured))
    except msgspec.ValidationError as error:
        raise _invalid(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is no record of version 1 ({error!r:.100}); {_REMEDY}") from error
    return replace(record, digest=old["digest"], path=path)


def _kinds(facts: AnyFacts, results: Part | None, details: Part) -> list[tuple[Any, Any]]:
    return [(facts, type(facts)), (results, facts.Results | None), (details, facts.Details)]


def _checked(part: Any, kind: Any) -> bytes:
    """A part as JSON. What it was made of is not checked when it is made: what came of it is, here.

    A number that is not finite would become null, which is no error where a member is optional.
    """
    text = msgspec.json.encode(part)
    msgspec.json.decode(text, type=kind)
    plain = msgspec.to_builtins(part)
    try:
        json.dumps(plain, allow_nan=False)
    except ValueError:
        raise ValueError(f"{next(_not_finite(plain, '$'))} is not finite") from None
    return text


def _not_finite(value: Any, path: str) -> Iterator[str]:
    """Paths of numbers that are not."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, member in members:
        yield from _not_finite(member, f"{path}.{name}" if isinstance(value, dict) else f"{path}[{name}]")


def _digest(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def _digest_1(record: Mapping[str, Any]) -> str:
    lasting = {name: value for name, value in record.items() if name not in ("digest", "text_sha256", "measured")}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _invalid(path: Path | None, error: msgspec.ValidationError) -> InputError:
    return InputError(f"{path or 'the record'} is no valid record: {error}; {_REMEDY}")


def find_records(folders: Sequence[Path]) -> Iterator[Path]:
    """Every record at or below `folders`, sorted.

    Raises:
        InputError: where a folder does not exist.
    """
    for folder in folders:
        if not folder.exists():
            raise InputError(f"{folder} does not exist; give a folder of runs, such as results/runs")
        yield from [folder] if folder.is_file() else sorted(_below(folder))


def _below(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):  # several times as fast as rglob
        if RECORD_NAME in files or RECORD_NAME in folders:
            yield Path(here, RECORD_NAME)
