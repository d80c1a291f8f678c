"""Registries: things of one kind by name, built in or brought by plug-ins, all through the same door.

A plug-in is a Python file or module that registers cores, regularizers, learners, tasks, datasets, presets or claims
when it is imported, exactly as the packages of this project do. `load_plugins` imports those that a command names by
`--plugin` and those that installed packages offer under the entry-point group `fewshot.plugins`. Whoever chooses by
name looks into a registry at that moment, so that what was registered before a command line is parsed can be chosen.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar, overload

from fewshot.errors import InputError, one_of

T = TypeVar("T")
ENTRY_POINTS = "fewshot.plugins"


@dataclass(frozen=True)
class Plugin:
    """Where something comes from that is not built in."""

    name: str
    """Of the module, or of the file."""
    version: str = ""
    """Of the package that the module belongs to; empty for a file."""
    sha256: str = ""
    """Of the file; empty for a module of an installed package."""


class Registry(MutableMapping[str, T], Generic[T]):
    """Things of one kind by name, in the order in which they were registered."""

    def __init__(self, what: str) -> None:
        """An empty registry of `what`, one of which an error message can speak ("learner")."""
        self.what = what
        self._things: dict[str, T] = {}
        self._origins: dict[str, Plugin | None] = {}

    def find(self, name: str) -> T:
        """What is registered under `name`.

        Raises:
            InputError: for an unknown name, with all known ones.
        """
        one_of(self.what, name, self._things)
        return self._things[name]

    @overload
    def register(self, name: str) -> Callable[[T], T]: ...
    @overload
    def register(self, name: str, thing: T) -> T: ...
    def register(self, name: str, thing: T | None = None) -> T | Callable[[T], T]:
        """Add a thing; without one, a decorator that adds what it stands above.

        Raises:
            InputError: where something else has that name.
        """
        if thing is None:
            return lambda decorated: self.register(name, decorated)
        if name in self._things and self._things[name] is not thing:
            origin = self._origins[name]
            there = "built in" if origin is None else f"from plug-in {origin.name}"
            raise InputError(f"{self.what} {name!r} exists already, {there}; give yours another name")
        self._things[name], self._origins[name] = thing, _importing[-1] if _importing else None
        return thing

    def origin(self, name: str) -> Plugin | None:
        """The plug-in that brought `name`; None for what is built in, or registered by the running script itself."""
        return self._origins.get(name)

    def __getitem__(self, name: str) -> T:
        return self._things[name]

    def __setitem__(self, name: str, thing: T) -> None:
        self.register(name, thing)

    def __delitem__(self, name: str) -> None:
        del self._things[name], self._origins[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)


_importing: list[Plugin] = []
"""The plug-in whose import is under way, last."""
_loaded: dict[str, Plugin] = {}
"""By resolved path or module name."""


def load_plugins(names: Sequence[str] = ()) -> list[Plugin]:
    """Import plug-ins: those of installed packages, then `names`, each once a process.

    Args:
        names: paths of Python files, or names of modules that can be imported.

    Returns:
        The plug-ins of `names`, in their order.

    Raises:
        InputError: where one is not there, or its import fails: with its name, the error and its line.
    """
    for point in entry_points(group=ENTRY_POINTS):
        _load(point.module)
    return [_load(name) for name in names]


def _load(name: str) -> Plugin:
    path = Path(name)
    is_file = name.endswith(".py") or path.is_file()
    key = str(path.resolve()) if is_file else name
    if key not in _loaded:
        with _failing_clearly(name):
            plugin = _file_plugin(path) if is_file else _module_plugin(name)
            _importing.append(plugin)
            try:
                _import_file(path) if is_file else importlib.import_module(name)
            finally:
                _importing.pop()
        _loaded[key] = plugin
    return _loaded[key]


def _file_plugin(path: Path) -> Plugin:
    return Plugin(path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def _module_plugin(name: str) -> Plugin:
    for distribution in packages_distributions().get(name.partition(".")[0], ()):
        with contextlib.suppress(PackageNotFoundError):
            return Plugin(name, version(distribution))
    spec = importlib.util.find_spec(name)  # a module beside the working directory: no package, its file is its identity
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ModuleNotFoundError(f"No module named {name!r}")
    return Plugin(name, sha256=hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest())


def _import_file(path: Path) -> ModuleType:
    name = f"fewshot_plugin_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def _failing_clearly(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(
            f"plug-in {name} does not exist; give a Python file, or a module that can be imported"
        ) from None
    except InputError as error:
        raise InputError(f"plug-in {name}: {error}") from error
    except Exception as error:
        line, trace = "", error.__traceback__
        while trace is not None:
            line, trace = f", line {trace.tb_lineno} of {trace.tb_frame.f_code.co_filename}", trace.tb_next
        raise InputError(f"plug-in {name} cannot be imported: {type(error).__name__}: {error}{line}") from error
