"""The few things a pickle may ask to be built: arrays, their types and scalars, and bytes.

numpy's own reconstruction functions are never called: the shape, type and length that a pickle claims are compared
with the bytes it brings before an array exists.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|[SU][1-9]\d{0,5})|\?")
_MAX_DIMENSIONS = 32


class NotPlainError(ValueError):
    """A pickle wants something that is neither array, number, string, list, dictionary nor tuple."""


@dataclass(frozen=True)
class Name:
    """A module's attribute that a pickle names; never looked up anywhere but in `CONSTRUCTORS`."""

    module: str
    attribute: str


class Pending:
    """An object announced by REDUCE that BUILD will complete; `value` is None until then."""

    value: np.ndarray | np.dtype | None = None

    def build(self, state: Any) -> np.ndarray | np.dtype:
        """Complete the object from its pickled state; it becomes `value`.

        Raises:
            NotPlainError: where the state is none of a plain object.
        """
        raise NotImplementedError


class PendingDtype(Pending):
    """A plain element type, whose byte order is still to come.

    Raises:
        NotPlainError: for any other type.
    """

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        text = as_text(code)
        if not _DTYPE.fullmatch(text):
            raise NotPlainError(f"arrays of type {text[:40]!r}")
        self._dtype = np.dtype(text)

    def build(self, state: Any) -> np.dtype:
        """Set the byte order; a plain type has no other state (version, order, no parts, no names, no fields, …)."""
        order = as_text(state[1])
        if any(part is not None for part in state[2:5]) or order not in ("<", ">", "|", "="):
            raise NotPlainError("structured arrays")
        self.value = self._dtype if order == "|" else self._dtype.newbyteorder(order)  # pyright: ignore[reportArgumentType]
        return self.value


class PendingArray(Pending):
    """An array, whose shape, type and bytes are still to come.

    Raises:
        NotPlainError: for a subclass of arrays.
    """

    def __init__(self, kind: Any, shape: Any, code: Any) -> None:
        if kind != Name("numpy", "ndarray"):
            raise NotPlainError("a subclass of arrays")

    def build(self, state: Any) -> np.ndarray:
        """`state` is (version, shape, type, Fortran order?, bytes)."""
        _version, shape, dtype, fortran, data = state
        self.value = make_array(data, dtype, shape, "F" if fortran else "C")
        return self.value


def make_array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """A read-only array of type `dtype` and of shape `shape` over `data` (bytes), which is not copied.

    Raises:
        NotPlainError: unless `data` holds exactly the bytes that `shape` and `dtype` claim.
    """
    data = as_bytes(data)
    if not isinstance(dtype, np.dtype) or not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
        raise NotPlainError("an array without a plain type and shape")
    if any(type(side) is not int or side < 0 for side in shape):
        raise NotPlainError("an array of impossible shape")
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != len(data):
        raise NotPlainError(f"an array of {claimed} bytes, bringing {len(data)}")
    if not data:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype)
    if dtype.kind == "U" and flat.view(dtype.str[0] + "u4").max() > sys.maxunicode:
        raise NotPlainError("text that is no Unicode")
    return flat.reshape(shape, order="F" if as_text(order) == "F" else "C")


def _make_scalar(dtype: Any, data: Any) -> Any:
    return make_array(data, dtype, (1,), "C")[0]


def _encode(text: Any, encoding: Any) -> bytes:
    """What Python 3 writes for bytes below protocol 3."""
    if as_text(encoding) not in ("latin1", "latin-1"):
        raise NotPlainError("another encoding than latin-1")
    return as_text(text).encode("latin-1")


def _no_bytes() -> bytes:
    return b""


def as_text(value: Any) -> str:
    """A pickled string as text, whichever Python wrote it.

    Raises:
        NotPlainError: where it is no string.
    """
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise NotPlainError(f"a {type(value).__name__} where a string belongs")
    return value


def as_bytes(value: Any) -> bytes:
    """A pickled string as bytes; undoes what `text_if_utf8` did.

    Raises:
        NotPlainError: where it is no string.
    """
    if isinstance(value, str):
        return value.encode("utf-8")
    if not isinstance(value, bytes):
        raise NotPlainError(f"a {type(value).__name__} where bytes belong")
    return value


def text_if_utf8(data: bytes) -> str | bytes:
    """A Python 2 string: text where it can be (names), else bytes (pixels)."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


CONSTRUCTORS: dict[Name, Callable[..., Any]] = {
    Name("numpy", "dtype"): PendingDtype,
    Name("_codecs", "encode"): _encode,
    Name("__builtin__", "bytes"): _no_bytes,
    Name("builtins", "bytes"): _no_bytes,
}
for _core in ("numpy.core", "numpy._core"):
    CONSTRUCTORS[Name(f"{_core}.multiarray", "_reconstruct")] = PendingArray
    CONSTRUCTORS[Name(f"{_core}.multiarray", "scalar")] = _make_scalar
    CONSTRUCTORS[Name(f"{_core}.numeric", "_frombuffer")] = make_array

NAMES = frozenset(CONSTRUCTORS) | {Name("numpy", "ndarray")}
