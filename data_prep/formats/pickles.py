"""Pickles from strangers: arrays, numbers, strings, lists, dictionaries and tuples, and nothing else."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.formats.pickle_machine import Machine, TruncatedError
from data_prep.formats.plain_objects import NotPlainError
from data_prep.formats.sources import Source, printable, reading, source_of
from fewshot.errors import InputError

_REMEMBERED = 256
_HARMLESS = ("collections.OrderedDict", "collections.defaultdict", "collections.Counter", "a set")


def load_pickle(path: Path | Source) -> Any:
    """What a pickle of protocol 0 to 5 holds, written by Python 2 or 3 with any numpy.

    Dictionary keys come out as `str`, whether they were pickled as text or bytes. A Python 2 `str` comes out as `str`
    where it is UTF-8, else as `bytes`. Arrays are read-only views of the bytes read: memory is about the file's size.

    Raises:
        InputError: where the file is truncated, damaged, no pickle, or asks for anything beyond plain data.
    """
    source = source_of(path)
    with _explained(source.label), reading(source, "pickle") as stream:
        return Machine(stream, source.size).load()


def iterate_pickled_pngs(path: Path | Source) -> Iterator[bytes]:
    """The encoded images of tieredImageNet's `*_images_png.pkl`, one at a time, in order.

    The pickle is a list of uint8 arrays of shape (L, 1) or (L,), or of `bytes`. No more than one batch of the pickle
    (1000 images) is in memory at any time.

    Raises:
        InputError: as `load_pickle`, or for an element that is no such array, when it is reached.
    """
    source = source_of(path)
    with _explained(source.label), reading(source, "pickle") as stream:
        for index, element in enumerate(Machine(stream, source.size, _REMEMBERED).elements()):
            yield _encoded_image(element, f"{source.label}, element {index}")


def _encoded_image(element: Any, name: str) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, np.ndarray) and element.dtype == np.uint8 and element.size == len(element):
        return element.tobytes()
    raise InputError(f"{name} is no encoded image (uint8 bytes) but {_described(element)}; give the PNG pickle")


def _described(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except NotPlainError as error:
        if str(error) in _HARMLESS:
            raise InputError(
                f"{name} is refused: it holds {error}, which is harmless but not read here; save its content as plain"
                " dictionaries, or get the original"
            ) from error
        raise InputError(f"{name} is refused: a pickle of plain data never holds {error}; get the original") from error
    except TruncatedError as error:
        raise InputError(f"{name} is truncated ({error}); delete it and fetch it again") from error
    except (ValueError, TypeError, LookupError, OverflowError, struct.error) as error:
        raise InputError(f"{name} is a damaged pickle ({printable(error)}); delete it and fetch it again") from error
