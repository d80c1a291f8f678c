"""An interpreter for the harmless part of the pickle language.

`pickle.Unpickler` looks names up by importing them, trusts every length, and keeps every object it has seen. This
machine knows the opcodes of plain data only, never imports, believes no length that the file does not have, and can
hand out the elements of a list while it reads. Opcodes: `pickletools` in the standard library.
"""

from __future__ import annotations

import codecs
import pickle
import struct
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from data_prep.formats.plain_objects import (
    CONSTRUCTORS,
    NAMES,
    Name,
    NotPlainError,
    Pending,
    PendingDtype,
    text_if_utf8,
)
from data_prep.formats.sources import printable

_MAX_STACK = 1 << 20
_MAX_CONTAINERS = 1 << 22
_MAX_DEPTH = 32
_MAX_NUMBER = 255
_ATOMS = (str, bytes, int, float, bool, type(None), np.generic)


class TruncatedError(ValueError):
    """The pickle ends before it is complete."""


class Machine:
    """One pass over one pickle.

    Args:
        stream: the bytes, read once from front to back.
        size: how many there are.
        memory: how many bytes an object may have that is kept for being referred to again.

    Raises:
        NotPlainError: by every method, where the pickle wants what is not plain data.
        TruncatedError: by those that read, where it ends too early.
        ValueError: where it contradicts itself.
    """

    def __init__(self, stream: IO[bytes], size: int, memory: float = float("inf")) -> None:
        self._stream = stream
        self._left = size
        self._memory = memory
        self._containers = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.memoized = 0

    def load(self) -> Any:
        """The whole object."""
        for _ in self._steps():
            pass
        [result] = self.stack
        _check_plain(result)
        return result

    def elements(self) -> Iterator[Any]:
        """The elements of a pickled list, each dropped here once it has been handed out.

        Raises:
            TypeError: at the end, where the pickle is of something else than a list.
        """
        for _ in self._steps():
            if len(self.stack) == 1 and not self.marks and type(self.stack[0]) is list:
                yield from self._drain(self.stack[0])
        if type(self.stack[0]) is not list:
            raise TypeError(f"a {type(self.stack[0]).__name__}, not a list")

    def _drain(self, elements: list[Any]) -> Iterator[Any]:
        elements.reverse()
        while elements:
            _check_plain(elements[-1])
            yield elements.pop()

    def _steps(self) -> Iterator[None]:
        while (code := self.read(1)) != pickle.STOP:
            handler = _HANDLERS.get(code)
            if handler is None:
                raise NotPlainError(_FORBIDDEN.get(code, f"the unknown instruction {code!r}"))
            handler(self)
            if len(self.stack) > _MAX_STACK:
                raise NotPlainError("a million unfinished objects")
            yield

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, asked of the file only where it has them."""
        if count > self._left:
            raise TruncatedError(f"{count} bytes claimed where {self._left} are left")
        data = self._stream.read(count)
        if len(data) != count:
            raise TruncatedError(f"{len(data)} bytes where {count} belong")
        self._left -= count
        return data

    def line(self) -> bytes:
        """The bytes up to the next line feed, which is dropped."""
        data = self._stream.readline(self._left)
        if not data.endswith(b"\n"):
            raise TruncatedError("an unfinished line")
        self._left -= len(data)
        return data[:-1]

    def integer(self, width: int) -> int:
        """An unsigned integer of `width` bytes."""
        return int.from_bytes(self.read(width), "little")

    def push(self, value: Any) -> None:
        """Put an object on the stack."""
        self.stack.append(value)

    def container(self, value: list | dict) -> None:
        """Put a list or a dictionary on the stack; their number is bounded, since a byte makes one."""
        self._containers += 1
        if self._containers > _MAX_CONTAINERS:
            raise NotPlainError("millions of lists and dictionaries")
        self.stack.append(value)

    def mark(self) -> None:
        """Begin a group of objects; groups are nested to a bounded depth."""
        if len(self.marks) > _MAX_DEPTH:
            raise NotPlainError("lists nested without end")
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """End the innermost group, and take its objects off the stack."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def put(self, index: int) -> None:
        """Remember what may be referred to again. Lists and dictionaries may not: one inside itself has no end."""
        self.memoized += 1
        self.memo.pop(index, None)
        if self._is_reusable(self.stack[-1]):
            self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        """Put on the stack again what `put` remembered, completed where it has been meanwhile."""
        if index not in self.memo:
            raise NotPlainError("one object used twice")
        value = self.memo[index]
        done = value.value if isinstance(value, Pending) else value
        self.stack.append(value if done is None else done)

    def _is_reusable(self, value: Any) -> bool:
        if isinstance(value, (str, bytes)):
            return len(value) <= self._memory
        if isinstance(value, (Name, np.dtype, PendingDtype)):
            return True
        if isinstance(value, tuple):
            return self._memory == float("inf") and all(isinstance(item, _ATOMS) for item in value)
        return self._memory == float("inf") and isinstance(value, (np.ndarray, Pending))

    def name(self, module: Any, attribute: Any) -> None:
        """Put a name on the stack, one of the few that are known."""
        name = Name(module, attribute)
        if name not in NAMES:
            raise NotPlainError(printable(f"{module}.{attribute}"))
        self.stack.append(name)

    def reduce(self) -> None:
        """Call one of `CONSTRUCTORS` with the arguments on the stack."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if function not in CONSTRUCTORS:
            raise NotPlainError(f"a call of a {type(function).__name__}")
        self.stack.append(CONSTRUCTORS[function](*arguments))

    def build(self) -> None:
        """Complete an array or a type with the state on the stack."""
        state, unfinished = self.stack.pop(), self.stack.pop()
        if not isinstance(unfinished, Pending):
            raise NotPlainError(f"the state of a {type(unfinished).__name__}")
        self.stack.append(unfinished.build(state))

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dictionary on the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise NotPlainError(f"items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _ATOMS):
                raise NotPlainError(f"a {type(key).__name__} as a dictionary's key")
            target[text_if_utf8(key) if isinstance(key, bytes) else key] = value

    def extend(self, items: list[Any]) -> None:
        """Put elements into the list on the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise NotPlainError(f"elements of a {type(target).__name__}")
        target.extend(items)

    def tuple_of(self, count: int) -> None:
        """Make the last `count` objects on the stack a tuple."""
        items = tuple(self.stack[-count:])
        if len(items) != count:
            raise ValueError("too few objects for a tuple")
        del self.stack[-count:]
        self.stack.append(items)


def _check_plain(value: Any) -> None:
    """Refuse what is unfinished, a bare name or type, or nested too deep to be walked by others."""
    level, seen = [value], set()
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list) or (isinstance(item, tuple) and id(item) not in seen):
                seen.add(id(item))
                inner.extend(item)
            elif not isinstance(item, (*_ATOMS, np.ndarray, tuple)):
                raise NotPlainError(f"a bare {type(item).__name__}")
        if not inner:
            return
        level = inner
    raise NotPlainError("lists nested without end")


def _decimal(line: bytes) -> int | bool:
    """Protocol 0 writes 01 and 00 for True and False, and a trailing L for Python 2's long integers."""
    if line in (b"01", b"00"):
        return line == b"01"
    if len(line) > _MAX_NUMBER:
        raise NotPlainError(f"an integer of {len(line)} digits")
    return int(line.removesuffix(b"L"))


def _long(machine: Machine, width: int) -> None:
    count = machine.integer(width)
    if count > _MAX_NUMBER:
        raise NotPlainError(f"an integer of {count} bytes")
    machine.push(int.from_bytes(machine.read(count), "little", signed=True))


def _quoted(line: bytes) -> bytes:
    line = line.strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a string without quotes")
    return codecs.escape_decode(line[1:-1])[0]  # pyright: ignore[reportAttributeAccessIssue]


def _text(machine: Machine, width: int) -> None:
    machine.push(str(machine.read(machine.integer(width)), "utf-8", "surrogatepass"))


def _old_string(machine: Machine, width: int) -> None:
    machine.push(text_if_utf8(machine.read(machine.integer(width))))


def _bytes(machine: Machine, width: int) -> None:
    machine.push(machine.read(machine.integer(width)))


def _protocol(machine: Machine) -> None:
    if (number := machine.integer(1)) > pickle.HIGHEST_PROTOCOL:
        raise NotPlainError(f"pickle protocol {number}")


def _frame(machine: Machine) -> None:
    if (length := machine.integer(8)) > machine._left:
        raise TruncatedError(f"a frame of {length} bytes")


def _stack_global(machine: Machine) -> None:
    attribute, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, attribute)


def _dictionary(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.container({})
    machine.set_items(items)


def _last(machine: Machine, count: int) -> list[Any]:
    items = machine.stack[-count:]
    del machine.stack[-count:]
    return items


_HANDLERS: dict[bytes, Callable[[Machine], None]] = {
    pickle.PROTO: _protocol,
    pickle.FRAME: _frame,
    pickle.MARK: Machine.mark,
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.INT: lambda m: m.push(_decimal(m.line())),
    pickle.LONG: lambda m: m.push(_decimal(m.line())),
    pickle.BININT: lambda m: m.push(int.from_bytes(m.read(4), "little", signed=True)),
    pickle.BININT1: lambda m: m.push(m.integer(1)),
    pickle.BININT2: lambda m: m.push(m.integer(2)),
    pickle.LONG1: lambda m: _long(m, 1),
    pickle.LONG4: lambda m: _long(m, 4),
    pickle.FLOAT: lambda m: m.push(float(m.line())),
    pickle.BINFLOAT: lambda m: m.push(struct.unpack(">d", m.read(8))[0]),
    pickle.STRING: lambda m: m.push(text_if_utf8(_quoted(m.line()))),
    pickle.BINSTRING: lambda m: _old_string(m, 4),
    pickle.SHORT_BINSTRING: lambda m: _old_string(m, 1),
    pickle.UNICODE: lambda m: m.push(str(m.line(), "raw-unicode-escape")),
    pickle.BINUNICODE: lambda m: _text(m, 4),
    pickle.SHORT_BINUNICODE: lambda m: _text(m, 1),
    pickle.BINUNICODE8: lambda m: _text(m, 8),
    pickle.BINBYTES: lambda m: _bytes(m, 4),
    pickle.SHORT_BINBYTES: lambda m: _bytes(m, 1),
    pickle.BINBYTES8: lambda m: _bytes(m, 8),
    pickle.BYTEARRAY8: lambda m: _bytes(m, 8),
    pickle.EMPTY_LIST: lambda m: m.container([]),
    pickle.EMPTY_DICT: lambda m: m.container({}),
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.LIST: lambda m: m.container(m.pop_mark()),
    pickle.DICT: _dictionary,
    pickle.TUPLE: lambda m: m.push(tuple(m.pop_mark())),
    pickle.TUPLE1: lambda m: m.tuple_of(1),
    pickle.TUPLE2: lambda m: m.tuple_of(2),
    pickle.TUPLE3: lambda m: m.tuple_of(3),
    pickle.APPEND: lambda m: m.extend(_last(m, 1)),
    pickle.APPENDS: lambda m: m.extend(m.pop_mark()),
    pickle.SETITEM: lambda m: m.set_items(_last(m, 2)),
    pickle.SETITEMS: lambda m: m.set_items(m.pop_mark()),
    pickle.PUT: lambda m: m.put(_decimal(m.line())),
    pickle.BINPUT: lambda m: m.put(m.integer(1)),
    pickle.LONG_BINPUT: lambda m: m.put(m.integer(4)),
    pickle.MEMOIZE: lambda m: m.put(m.memoized),
    pickle.GET: lambda m: m.get(_decimal(m.line())),
    pickle.BINGET: lambda m: m.get(m.integer(1)),
    pickle.LONG_BINGET: lambda m: m.get(m.integer(4)),
    pickle.GLOBAL: lambda m: m.name(str(m.line(), "utf-8"), str(m.line(), "utf-8")),
    pickle.STACK_GLOBAL: _stack_global,
    pickle.REDUCE: Machine.reduce,
    pickle.BUILD: Machine.build,
}

_FORBIDDEN = {
    pickle.INST: "an object of a class (INST)",
    pickle.OBJ: "an object of a class (OBJ)",
    pickle.NEWOBJ: "an object of a class (NEWOBJ)",
    pickle.NEWOBJ_EX: "an object of a class (NEWOBJ_EX)",
    pickle.PERSID: "an object kept elsewhere (PERSID)",
    pickle.BINPERSID: "an object kept elsewhere (BINPERSID)",
    pickle.EXT1: "a registered extension (EXT1)",
    pickle.EXT2: "a registered extension (EXT2)",
    pickle.EXT4: "a registered extension (EXT4)",
    pickle.NEXT_BUFFER: "a buffer kept elsewhere",
    pickle.READONLY_BUFFER: "a buffer kept elsewhere",
    pickle.EMPTY_SET: "a set",
    pickle.FROZENSET: "a set",
    pickle.ADDITEMS: "a set",
    pickle.POP: "an object thrown away",
    pickle.POP_MARK: "an object thrown away",
    pickle.DUP: "one object used twice",
}
