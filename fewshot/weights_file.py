"""Weights on disk: safetensors with a JSON header that says what they are. Complete or absent, and never a pickle."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fewshot.errors import InputError
from fewshot.files import replacing

C = TypeVar("C", bound="Card")


@dataclass(frozen=True)
class Card:
    """Base of what a file says of the weights in it: text and plain data, written as JSON."""

    NEWEST: ClassVar[int]
    """Version of the files that are written."""
    OTHERS: ClassVar[Mapping[str, Any]] = {}
    """Types of members that are no text."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; a ValueError or TypeError says why it cannot be that."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("not a dictionary")
        version = values.get("version", 1)
        if isinstance(version, int) and version > cls.NEWEST:
            raise ValueError(f"its format {version} is newer than {cls.NEWEST}, the last known here: update fewshot")
        card = cls(**values)
        for each in dataclasses.fields(cls):
            if not isinstance(getattr(card, each.name), cls.OTHERS.get(each.name, str)):
                raise TypeError(f"{each.name} has the wrong type")
        return card

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Kind:
    """A kind of file."""

    header: str
    """Key of the JSON text in the file's metadata."""
    article: str
    """What such a file holds, in words: "a backbone"."""
    remedy: str
    """What to do about a bad one."""
    foreign_remedy: str = ""
    """What to do about a file that is no safetensors at all, if that is something else."""

    def write(self, path: Path, weights: Mapping[str, Tensor], header: str) -> None:
        """Write weights and the header, completely or not at all.

        Raises:
            InputError: where the file cannot be written.
        """
        with replacing(path) as temporary:
            save_file(dict(weights), temporary, {self.header: header})

    def read_header(self, path: Path) -> str:
        """The header alone. Errors as `read`."""
        with self._opened(path) as file:
            return self._header(path, file)

    def read(self, path: Path) -> tuple[str, dict[str, Tensor]]:
        """Header and weights.

        Raises:
            InputError: where the file is absent, damaged, or of another kind.
        """
        with self._opened(path) as file:
            header = self._header(path, file)
            try:
                return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
            except (SafetensorError, ValueError, RuntimeError) as error:
                raise InputError(f"{path} is damaged ({first_line(error)}); {self.remedy}") from error

    def card(self, path: Path, header: str, kind: type[C]) -> C:
        """The card that a header holds.

        Raises:
            InputError: where it holds none.
        """
        try:
            return kind.from_json(header)
        except (ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{path} has no readable card ({first_line(error)}); {self.remedy}") from error

    def check(self, path: Path, weights: Mapping[str, Tensor], sha256: str) -> None:
        """Refuse weights that are not those of the card, with an `InputError`."""
        if weights_sha256(weights) != sha256:
            raise InputError(f"{path} is damaged: its weights have another hash than its card says; {self.remedy}")

    def fill(self, path: Path, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Put weights into a module, all of them and no others; an `InputError` where they do not fit."""
        try:
            module.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise InputError(f"{path} does not hold what its card says ({first_line(error)}); {self.remedy}") from error

    def foreign(self, path: Path) -> InputError:
        """The error to raise where the header is not that of this kind."""
        return InputError(f"{path} is not {self.article} (its header does not say which one); {self.remedy}")

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[Any]:
        if not path.is_file():
            raise InputError(f"there is no {self.article.split(' ', 1)[1]} at {path}; {self.remedy}")
        try:
            file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            remedy = self.foreign_remedy or self.remedy
            raise InputError(f"{path} is not a safetensors file ({first_line(error)}); {remedy}") from error
        with file as opened:
            yield opened

    def _header(self, path: Path, file: Any) -> str:
        try:
            return (file.metadata() or {})[self.header]
        except KeyError as error:
            raise self.foreign(path) from error


def options_of(kind: type, values: Mapping[str, Any]) -> Any:
    """Options of type `kind` from the plain data of a card; a TypeError, ValueError or `InputError` where none are."""
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    if not all(value is None or isinstance(value, int | float | str | tuple) for value in plain.values()):
        raise TypeError("a value is neither number nor text")
    return kind(**plain)


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values on the CPU, in the order of names; 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def first_line(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:120]
