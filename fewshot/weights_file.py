"""Weights on disk: safetensors with a JSON header that says what they are. Complete or absent, and never a pickle."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fewshot.errors import InputError
from fewshot.files import replacing


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
