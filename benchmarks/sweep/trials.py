"""Trials: runs that end before their test, of one setting and seed each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.few_shot import command as few_shot
from benchmarks.few_shot.base import folder_of as few_shot_folder
from benchmarks.general import command as general
from benchmarks.general.base import folder_of as general_folder
from benchmarks.jobs.kinds import FewShotJob, Job, OptimizeJob, Places
from benchmarks.running.command import CommandLine, flat_values
from benchmarks.running.validation import Validation, read_validation, validation_path
from benchmarks.sweep.grid import Setting, words_of
from fewshot.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Trial(Job):
    """Meta-trains up to the test, or to where it is stopped."""

    config: Any = field(compare=False)
    """As its own parser would make it of `words`."""
    setting: Setting = field(compare=False)
    base: tuple[str, ...] = field(compare=False)
    """The command line without the setting."""
    stop_at: int | None = None

    folder_of: ClassVar[Callable[..., Path]]

    @property
    def command(self) -> Any:
        """What its configuration says of it."""
        return self.config

    def arguments(self, places: Places) -> list[str]:
        stop = [] if self.stop_at is None else ["--stop-at", str(self.stop_at)]
        return [*super().arguments(places), "--validate-only", *stop]

    @property
    def kind(self) -> tuple[Any, ...]:
        return self.module, self.base, self.stop_at

    @property
    def on(self) -> str:
        words = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in self.setting)
        return f"{super().on}: {words}" if words else super().on

    @property
    def name(self) -> str:
        return f"{self._run_name}-seed{self.seed}-trial"

    def record_path(self, places: Places) -> Path:
        return validation_path(places.results / self._run_name / f"seed{self.seed}", self.stop_at)

    def read(self, path: Path) -> Validation:
        return read_validation(path)

    @cached_property
    def _run_name(self) -> str:
        return self.folder_of(Path(), self.config, self.seed).parent.name


class FewShotTrial(Trial, FewShotJob):
    """Of `benchmarks.run`."""

    folder_of = staticmethod(few_shot_folder)


class OptimizeTrial(Trial, OptimizeJob):
    """Of `benchmarks.optimize`."""

    folder_of = staticmethod(general_folder)


@dataclass(frozen=True)
class Track:
    """What is swept over."""

    line: CommandLine[Any]
    job: type[FewShotJob] | type[OptimizeJob]
    trial: type[Trial]
    length: str
    """The option that says how long meta-training is."""
    problems: tuple[str, ...]
    """Options that decide the validation problems, beside those that `line` reads ahead: not to be chosen by them."""
    rate: str = "training.meta-rate"


TRACKS: Mapping[str, Track] = {
    "run": Track(
        few_shot.COMMAND_LINE,
        FewShotJob,
        FewShotTrial,
        "training.episodes",
        ("query", "test.", "training.validation-episodes"),
    ),
    "optimize": Track(
        general.COMMAND_LINE,
        OptimizeJob,
        OptimizeTrial,
        "training.unrolls",
        ("test.", "training.validation-problems", "training.horizon", "training.curriculum", "training.batch-size"),
    ),
}


@dataclass(frozen=True)
class Side:
    """One of those that are compared: what is varied of it."""

    regularizer: str
    track: Track
    words: tuple[str, ...]
    """The command line that all of its settings share."""
    settings: Sequence[Setting]
    """From the simplest on."""

    @cached_property
    def base(self) -> Any:
        """Its command, without a setting."""
        return self.track.line.parse(self.words)

    @cached_property
    def configs(self) -> list[Any]:
        """Of every setting, made of the grid's values as a command line would read them.

        Raises:
            InputError: for an option that there is not, or a value that it does not take.
        """
        names = dict.fromkeys(name for setting in self.settings for name, _ in setting)
        for name in names:
            if name.startswith((*self.track.problems, "seeds")) or name in self.track.line.ahead:
                raise InputError(
                    f"{name} decides what is compared, so it is not chosen by comparison; sweep each apart"
                )
        values = {name: self._values(name) for name in names}
        return [
            _with(self.base.config, {name: values[name][text] for name, text in setting}) for setting in self.settings
        ]

    def _values(self, name: str) -> dict[str, Any]:
        """Of an option, by its words. Further numbers are not parsed with all that stands around them."""
        found: dict[str, Any] = {}
        kind: type[Any] = str
        for text in dict.fromkeys(value for setting in self.settings for n, value in setting if n == name):
            try:
                found[text] = kind(text) if kind in (int, float) else self._parsed(name, text)
            except ValueError:
                found[text] = self._parsed(name, text)
            kind = type(found[text])
        return found

    def _parsed(self, name: str, text: str) -> Any:
        return dict(flat_values(self.track.line.parse((*self.words, f"--{name}", text))))[name]

    def words_of(self, setting: Setting) -> tuple[str, ...]:
        """The command line of a setting."""
        return (*self.words, *words_of(setting))

    def trials(self, number: int, seeds: Sequence[int], stop_at: int | None = None) -> list[Job]:
        """Of a setting, one a seed."""
        setting, trial = self.settings[number], self.track.trial
        shared = {"config": self.configs[number], "setting": setting, "base": self.words, "stop_at": stop_at}
        return [trial(self.words_of(setting), seed, **shared) for seed in seeds]

    def runs(self, setting: Setting, seeds: Sequence[int]) -> list[Job]:
        """Of a setting, test included, one a seed."""
        return [self.track.job(self.words_of(setting), seed) for seed in seeds]


def _with(options: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass of options with other values of some, by the names of the command line."""
    changed: dict[str, Any] = {}
    for f in fields(options):
        name, value = f.name.replace("_", "-"), getattr(options, f.name)
        if name in values:
            changed[f.name] = values[name]
        elif is_dataclass(value):
            inner = {n.removeprefix(f"{name}."): v for n, v in values.items() if n.startswith(f"{name}.")}
            changed |= {f.name: _with(value, inner)} if inner else {}
    return replace(options, **changed)
