"""Command lines from frozen dataclasses, parsed in two stages.

The first stage reads a few options ahead (the plug-ins, the method, the dataset, the preset …): they decide what can be
chosen, which options there are, and their defaults. The second stage is `tyro` on a dataclass made of exactly those.
"""

from __future__ import annotations

import difflib
import itertools
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro
from tyro import _errors as tyro_errors  # its hook for errors has no public name yet; its contract is documented there

from benchmarks.running.config_file import Value, read_options
from benchmarks.running.record import DEFAULT_RESULTS
from fewshot.errors import InputError
from fewshot.registry import load_plugins

C = TypeVar("C", bound=Any)
Words = tuple[str, ...]


def default_data() -> Path:
    """Where prepared datasets lie unless told otherwise: $FEWSHOT_DATA, or `data`."""
    return Path(os.environ.get("FEWSHOT_DATA") or "data")


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse what is no list of seeds.

    Raises:
        InputError: unless they are one or more different whole numbers of at least 0.
    """
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        given = ", ".join(map(str, seeds)) or "none"
        raise InputError(f"seeds are {given}; give one or more different whole numbers of at least 0")


@dataclass(frozen=True)
class Execution:
    """How a command is carried out. None of these options decides a result."""

    preset: str = "auto"
    """Defaults of all options above."""
    seeds: tuple[int, ...] = (0,)
    """One run each."""
    results: Path = DEFAULT_RESULTS
    """Where runs are written."""
    data: Path = field(default_factory=default_data)
    """Where prepared datasets lie ($FEWSHOT_DATA overrides the default)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    fresh: bool = False
    """Discard what an earlier run of the same command left, and start over."""
    quiet: bool = False
    """No progress."""
    checkpoint_seconds: float = 30.0
    """Time between checkpoints; a killed run loses at most the work since the last one."""
    plugin: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Python file or module that registers what is not built in (docs/plugins.md); may be given more than once."""
    wait: bool = False
    """Where another process runs the same command, wait for it, and go on from what it left."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config", metavar="FILE")] = None
    """Take options from this TOML or JSON file, such as benchmarks.sweep writes; those given here count more."""
    words: Annotated[Words, tyro.conf.Suppress] = ()
    """The command line, short forms and --config written out."""

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        if not 0 < self.checkpoint_seconds < math.inf:
            raise InputError(f"checkpoint_seconds is {self.checkpoint_seconds}; it must be positive and finite")

    @property
    def given(self) -> frozenset[str]:
        """Names of the options on the command line, such as "training.unrolls"."""
        return frozenset(name for name, _ in options(self.words))


@dataclass(frozen=True)
class MetaTrainingExecution(Execution):
    """The same for what is meta-trained, validated on the way, and tested."""

    validate_only: bool = False
    """Test nothing: write what meta-training reached on every validation problem, for a choice among settings. The same
    command without this goes on to the test."""
    stop_at: int | None = None
    """With --validate-only: stop after so many episodes or unrolls, to be continued by a later command."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stop_at is None:
            return
        if not self.validate_only:
            raise InputError(f"stop_at is {self.stop_at}, which is for --validate-only; add that, or leave it out")
        every = getattr(getattr(self, "training", None), "validate_every", 1)
        if self.stop_at < 1 or self.stop_at % every:
            raise InputError(f"stop_at is {self.stop_at}; it must be a multiple of training.validate_every, {every}")


@dataclass(frozen=True)
class CommandLine(Generic[C]):
    """How the command line of one command is read."""

    program: str
    """What follows `python -m`."""
    command: type[C]
    """A dataclass of all options; its docstring is the description."""
    ahead: tuple[str, ...]
    """Options of text or whole numbers that decide about others."""
    defaults: Callable[..., C]
    """From the values of `ahead` that were given, as keywords, to a command with the defaults of all its options."""
    names: Mapping[str, tuple[str, Iterable[str]]]
    """Options whose value is a name: their help, and the registry of names."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """What to say of an option that is not there, by how its name begins."""
    short: Mapping[str, Words] = field(default_factory=dict)
    """Short forms: "--smooth" for ("--regularizer", "smooth"); of a single word, a value follows."""

    def parse(self, arguments: Sequence[str] | None = None) -> C:
        """Read a command line.

        Args:
            arguments: without the program's name; None reads `sys.argv`.

        Raises:
            InputError: for a plug-in that cannot be loaded, an unknown option or name, a value of the wrong type or out
                of range, and for options that contradict each other.
        """
        given = sys.argv[1:] if arguments is None else list(arguments)
        _refuse_contradictions(given, self.short)
        words = tuple(new for word in given for new in self.short.get(word, (word,)))
        paths = _values(words).get("config")
        if paths is None:
            return self._parse(words)
        leading = itertools.takewhile(lambda word: not word.startswith("--"), words)
        others = (word for name, values in options(words) if name != "config" for word in _words(name, values))
        try:
            return self._parse((*leading, *others), read_options(Path(paths[0])))
        except InputError as error:
            raise InputError(f"with the options of {paths[0]}: {error}") from error

    def _parse(self, words: Words, of_file: Mapping[str, Value] | None = None) -> C:
        """Read words whose short forms are written out; what a file says of options that they do not name counts."""
        named = {name for name, _ in options(words)}
        extra = {name: value for name, value in (of_file or {}).items() if not named & {name, _negated(name)}}
        first = (word for name, value in extra.items() if not isinstance(value, bool) for word in _words(name, value))
        words = (*first, *words)
        values = _values(words)
        if "config" in extra:
            raise InputError("config is an option of the command line alone; leave it out of the file")
        load_plugins(values.get("plugin", []))
        kinds = {f.name: type(f.default) for f in fields(self.command) if f.name in self.ahead}  # pyright: ignore[reportArgumentType]
        ahead = {name: _one(name, values[name], kinds[name]) for name in self.ahead if values.get(name)}
        default = self.defaults(**ahead)
        narrowed = self._narrowed(default)
        values_of = {f.name: getattr(default, f.name) for f in fields(default)}  # pyright: ignore[reportArgumentType]
        words = (*flags(extra, default), *words)
        command = parse_as(narrowed, narrowed(**values_of), self.program, words, self.hints)
        return self.command(**{f.name: getattr(command, f.name) for f in fields(self.command)} | {"words": words})

    def _narrowed(self, default: C) -> type[C]:
        """The command's type with the names that there are, and of groups of options only what `default` has."""
        changed: list[tuple[str, Any, Any]] = []
        for f in fields(default):  # pyright: ignore[reportArgumentType]
            value = getattr(default, f.name)
            if f.name in self.names:
                text, names = self.names[f.name]
                kind = Annotated[str, tyro.conf.arg(help=f"{text}: {', '.join(names)}.")]
                changed.append((f.name, kind, field(default=value)))
            elif is_dataclass(value):
                changed.append((f.name, type(value), field(default=value)))
            elif f.type == "Any":  # a group of options that this choice does not have
                changed.append((f.name, Annotated[Any, tyro.conf.Suppress], field(default=value)))
        narrowed = make_dataclass(type(default).__name__, changed, bases=(type(default),), frozen=True)
        narrowed.__doc__ = type(default).__doc__
        return narrowed


def parse_as(
    kind: type[C], default: C | None, program: str, words: Sequence[str] | None, hints: Mapping[str, str] | None = None
) -> C:
    """`tyro.cli` on a dataclass, with errors of one line.

    Args:
        kind: the dataclass, or a union of some, each a subcommand.
        default: an instance that supplies all defaults; None: those of the dataclass.
        program: what follows `python -m`.
        words: the command line; None reads `sys.argv`.
        hints: what to say of an option that is not there, by how its name begins.

    Raises:
        InputError: for an unknown option, or a value of the wrong type or out of range.
    """
    with tyro_errors.on_parse_error(_refuse(default, hints or {})):
        return tyro.cli(
            kind,
            prog=f"python -m {program}",
            args=words,
            config=(tyro.conf.FlagCreatePairsOff,) + (() if default is None else (tyro.conf.AvoidSubcommands,)),
            **({} if default is None else {"default": default}),
        )


def options(words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The options among words of a command line, with their values: "--a.b_c=1" is ("a.b-c", ["1"])."""
    name, values = None, []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            if name is not None:
                yield name, values
            name, mark, value = word[2:].partition("=")
            name, values = name.replace("_", "-"), [value] if mark else []
        elif name is not None:
            values.append(word)
    if name is not None:
        yield name, values


def _words(name: str, values: Iterable[str]) -> Words:
    return (f"--{name}", *values)


def _negated(name: str) -> str:
    """The flag that unsets an option."""
    group, dot, last = name.rpartition(".")
    return f"{group}{dot}no-{last}"


def flags(given: Mapping[str, Value], default: Any) -> Iterator[str]:
    """Flags for truth values that are not the default; of an option that is not there, for the parser to refuse."""
    known = dict(flat_values(default))
    for name, value in given.items():
        if isinstance(value, bool) and known.get(name) is not value:
            yield f"--{name if value else _negated(name)}"


def plugins_in(words: Sequence[str]) -> list[str]:
    """The plug-ins that a command line names; what follows one may be a word of its own."""
    return [value for name, values in options(words) for value in values[:1] if name == "plugin"]


def _values(words: Words) -> dict[str, list[str]]:
    """Values by option: the last ones, as ever on command lines, but all plug-ins."""
    values_of: dict[str, list[str]] = {}
    for name, values in options(words):
        if "" in values:
            raise InputError(f"--{name} is empty; give a value, or leave the option out")
        values_of[name] = [*values_of.get(name, []), *values[:1]] if name == "plugin" else values
    return values_of


def _refuse_contradictions(words: Sequence[str], short: Mapping[str, Words]) -> None:
    """Refuse a short form beside the option that it stands for, where the two say different things."""
    given = {f"--{name}": values for name, values in options(words)}
    for form, (name, *fixed) in short.items():
        if form in given and name in given:
            meant = fixed or given[form]
            if meant != given[name]:
                both = " and ".join(" ".join([option, *given[option]]) for option in (form, name))
                raise InputError(f"{both} contradict each other; give one of them")


def _one(name: str, values: Sequence[str], kind: type) -> Any:
    if kind is not int:
        return values[0]
    try:
        return int(values[0])
    except ValueError:
        raise InputError(f"--{name} is {values[0]!r}; it must be a whole number") from None


def _refuse(default: Any, hints: Mapping[str, str]) -> Callable[[tyro_errors.ParseErrorEvent], None]:
    def refuse(event: tyro_errors.ParseErrorEvent) -> None:
        if isinstance(event, tyro_errors.MissingSubcommand):
            names = ", ".join(event.subcommand_spec.parser_from_name)
            raise InputError(f"say what to do; choose one of: {names}")
        if isinstance(event, tyro_errors.MissingArgs):
            names = ", ".join(_name(each.arg) for each in event.missing_arguments)
            raise InputError(f"{names} must be given; see --help")
        if isinstance(event, tyro_errors.UnrecognizedArgs):
            raise InputError(_unknown(event.tokens[0], default, hints))
        if isinstance(event, tyro_errors.InvalidChoice):
            choices = ", ".join(event.choices)
            raise InputError(f"{_name(event.argument)} is {event.value!r}; choose one of: {choices}")
        if isinstance(event, tyro_errors.BadValue):
            raise InputError(f"{_name(event.argument)} lacks a value; see --help")
        if isinstance(event, tyro_errors.InstantiationFailure):
            raise InputError(_wrong_value(event))

    return refuse


_KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path"}


def _wrong_value(event: tyro_errors.InstantiationFailure) -> str:
    if event.argument is None:
        return f"{event.message}; see --help"
    kind = _KINDS.get(str(event.argument.lowered.metavar).strip("[]. ").split()[0])
    quoted = re.findall(r"'[^']*'", event.message)
    if kind is None or not quoted:
        return f"{_name(event.argument)}: {event.message}; see --help"
    return f"{_name(event.argument)} is {quoted[-1]}; it must be {kind}"


def _name(argument: Any) -> str:
    return argument.lowered.name_or_flags[-1] if argument.lowered.name_or_flags else str(argument.intern_name)


def _unknown(token: str, default: Any, hints: Mapping[str, str]) -> str:
    if not token.startswith("--"):
        return f"{token!r} belongs to no option; see --help"
    name = token.partition("=")[0][2:].replace("_", "-")
    for beginning, hint in hints.items():
        if name.startswith(beginning):
            return f"--{name}: {hint}"
    known = [name for name, _ in flat_values(default)] if default is not None else []
    near = [f"--{n}" for n in known if n.split(".")[-1] == name.split(".")[-1]]
    near = near or [f"--{n}" for n in difflib.get_close_matches(name, known, 2)]
    remedy = f"did you mean {' or '.join(near[:3])}?" if near else "see --help"
    return f"there is no option --{name} here; {remedy}"


def flat_values(options: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The options of a dataclass by the names of the command line, with their values."""
    for f in fields(options):
        value, name = getattr(options, f.name), prefix + f.name.replace("_", "-")
        if is_dataclass(value):
            yield from flat_values(value, f"{name}.")
        else:
            yield name, value


_PLACES = ("results", "data", "device", "quiet", "fresh", "checkpoint-seconds", "backbones", "features")
_PLACES += ("wait", "validate-only", "stop-at")


def command_text(program: str, words: Sequence[str], script: str) -> str:
    """A command that does the same on another machine: without the places and manners of this one.

    Args:
        program: what follows `python -m`.
        words: the command line.
        script: `sys.argv[0]`; where it is no module of this project, it is what has to be run.
    """
    kept = [(name, values) for name, values in options(words) if name not in _PLACES]
    own = Path(script).suffix == ".py" and Path(script).stem != program.rpartition(".")[2]
    start = ("python", Path(script).name) if own else ("python", "-m", program)
    return shlex.join([*start, *(word for name, values in kept for word in (f"--{name}", *values))])
