"""Jobs: runs of one seed, each a command line that a user could type, and where their records lie."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import tyro

from benchmarks.backbones import command as backbones
from benchmarks.backbones.config import DEFAULT_BACKBONES
from benchmarks.backbones.experiment import PRETRAINING_NAME, backbone_path
from benchmarks.few_shot import command as few_shot
from benchmarks.few_shot.base import folder_of as few_shot_folder
from benchmarks.few_shot.command import DEFAULT_FEATURES
from benchmarks.general import command as general
from benchmarks.general.base import folder_of as general_folder
from benchmarks.running.command import default_data
from benchmarks.running.record import DEFAULT_RESULTS, RECORD_NAME, Record, read_record
from benchmarks.running.validation import Validation
from fewshot.data.store import Dataset
from fewshot.general.tasks import TASKS
from fewshot.learners.features import FeatureOptions
from fewshot.optimizers.optimizer_file import read_card


@dataclass(frozen=True)
class Places:
    """Where things lie; options of the same names of every command."""

    results: Path = DEFAULT_RESULTS
    """Where runs are written, and looked for."""
    data: Path = field(default_factory=default_data)
    """Where prepared datasets lie ($FEWSHOT_DATA overrides the default)."""
    backbones: Path = DEFAULT_BACKBONES
    """Where backbones lie, and are written."""
    features: Path = DEFAULT_FEATURES
    """Where features of backbones are kept."""
    plugin: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Python file or module that registers what is not built in (docs/plugins.md); may be given more than once."""

    @cached_property
    def transfers(self) -> Mapping[tuple[Any, ...], tuple[tuple[Path, str], ...]]:
        """Records of optimizers that were only tested, with the hashes of their weights, by `_transfer_key`."""
        tested: dict[tuple[Any, ...], tuple[tuple[Path, str], ...]] = {}
        for path in sorted(self.results.glob(f"general-*/seed0/{RECORD_NAME}")):
            config = read_record(path).facts.config
            source = config["transfer"]
            if source:
                key = _transfer_key(config, source["config_sha256"], source["seed"], source["optimizer_name"])
                tested[key] = (*tested.get(key, ()), (path, source["weights"]))
        return tested


def _transfer_key(config: Mapping[str, Any], source: str, seed: int, optimizer_name: str) -> tuple[Any, ...]:
    """What is tested (hash of its configuration, its seed, best or last), and on what."""
    test = json.dumps([config["task"], config["test"], config["training"]["batch_size"]], sort_keys=True)
    return source, seed, optimizer_name, test


@dataclass(frozen=True)
class Job:
    """A run of one seed; subclasses know one command each."""

    words: tuple[str, ...]
    """Command line, up to seeds and places."""
    seed: int = 0
    needs: tuple[Job, ...] = ()
    """Jobs that must have finished before this one starts, if it has to run."""
    guess: float = field(default=60.0, compare=False)
    """Seconds on one core, where nothing was measured."""
    optional: bool = field(default=False, compare=False)
    """Shown where it is finished, and run only when it is asked for."""

    module: ClassVar[str]

    def arguments(self, places: Places) -> list[str]:
        """The command line in full."""
        plugins = [word for plugin in places.plugin for word in ("--plugin", plugin)]
        run = [*self.words, "--seeds", str(self.seed), "--quiet", "--wait", *plugins]
        return [*run, "--results", str(places.results), "--data", str(places.data)]

    def on_problems(self, count: int) -> Self:
        """The same with another number of test problems, where that can be chosen."""
        return self

    def amended(self, words_for: Callable[[Job], tuple[str, ...]]) -> Self:
        """The same with further options, which `words_for` says of a job; what only tests is amended in its source."""
        return replace(self, words=(*self.words, *words_for(self)))

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal in jobs that take equally long."""
        return self.module, self.words

    @property
    def method(self) -> str:
        """What is run, in words."""
        raise NotImplementedError

    @property
    def on(self) -> str:
        """What it is run on, in words."""
        raise NotImplementedError

    @property
    def dataset(self) -> str | None:
        """The dataset that has to be there."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """For the file of its output."""
        raise NotImplementedError

    @property
    def dependencies(self) -> tuple[Job, ...]:
        """All that must have finished before."""
        return self.needs

    @property
    def leaves(self) -> str:
        """What the first job to finish leaves for all others that would make the same; they wait for it."""
        return ""

    def lacks(self, places: Places) -> str:
        """What a finished job did not leave that this one needs, with the remedy; empty where nothing is missing."""
        return ""

    def record_path(self, places: Places) -> Path | None:
        """Where its record is, or will be; None where that cannot be told before it has run."""
        raise NotImplementedError

    def result(self, places: Places) -> Path | None:
        """The file whose presence says that it is finished; None as for `record_path`."""
        return self.record_path(places)

    def read(self, path: Path) -> Record | Validation:
        """Its record.

        Raises:
            InputError: where it cannot be read.
        """
        return read_record(path).light()


@cache
def _parsed(parse: Callable[..., Any], words: tuple[str, ...]) -> Any:
    return parse(words)


def _with(method: str, regularizer: str) -> str:
    return method if regularizer == "none" else f"{method} + {regularizer}"


class FewShotJob(Job):
    """Meta-trains and tests a few-shot learner."""

    module = "benchmarks.run"

    @property
    def command(self) -> few_shot.FewShotCommand:
        """As its own parser reads it."""
        return _parsed(few_shot.parse, self.words)

    def arguments(self, places: Places) -> list[str]:
        own = ["--backbones", str(places.backbones), "--features", str(places.features)]
        return [*super().arguments(places), *own]

    @property
    def method(self) -> str:
        return _with(self.command.method, self.command.regularizer)

    @property
    def on(self) -> str:
        return f"{self.command.dataset}, {self.command.way}-way {self.command.shot}-shot"

    @property
    def dataset(self) -> str | None:
        return self.command.dataset

    @property
    def name(self) -> str:
        return f"{self.command.config.run_name()}-seed{self.seed}"

    @property
    def leaves(self) -> str:
        learner = self.command.learner
        if not isinstance(learner, FeatureOptions):
            return ""
        return f"features of {self.command.dataset}, {learner.backbone}, {learner.views} views"

    def record_path(self, places: Places) -> Path | None:
        return few_shot_folder(places.results, self.command.config, self.seed) / RECORD_NAME


class OptimizeJob(Job):
    """Meta-trains an optimizer of network weights, or chooses a hand-designed one's rate, and tests it."""

    module = "benchmarks.optimize"

    def on_problems(self, count: int) -> Self:
        return replace(self, words=(*self.words, "--test.initializations", str(count)))

    @property
    def command(self) -> general.GeneralCommand:
        """As its own parser reads it."""
        return _parsed(general.parse, self.words)

    @property
    def method(self) -> str:
        return _with(self.command.optimizer, self.command.regularizer)

    @property
    def on(self) -> str:
        return f"{self.command.task}, {self.command.config.test.steps:,} steps"

    @property
    def dataset(self) -> str | None:
        return TASKS[self.command.task].dataset

    @property
    def name(self) -> str:
        return f"{self.command.config.run_name()}-seed{self.seed}"

    def record_path(self, places: Places) -> Path | None:
        return general_folder(places.results, self.command.config, self.seed) / RECORD_NAME


@dataclass(frozen=True)
class TransferJob(OptimizeJob):
    """Only tests the optimizer that another job meta-trained. Its seed is that of the source; its run has none.

    Its folder depends on the weights of the source; its record is found by what it says, so that it is found where
    weights were not kept.
    """

    source: OptimizeJob = field(kw_only=True)

    def on_problems(self, count: int) -> Self:
        return replace(super().on_problems(count), source=self.source.on_problems(count))

    def amended(self, words_for: Callable[[Job], tuple[str, ...]]) -> Self:
        return replace(self, source=self.source.amended(words_for))

    def arguments(self, places: Places) -> list[str]:
        evaluated = self.source.record_path(places)
        assert evaluated is not None
        words = ("--evaluate", str(evaluated.with_name("best.safetensors")), *self.words)
        return OptimizeJob(words).arguments(places)

    @property
    def dependencies(self) -> tuple[Job, ...]:
        return (*self.needs, self.source)

    def lacks(self, places: Places) -> str:
        record = self.source.record_path(places)
        assert record is not None
        weights = record.with_name("best.safetensors")
        if weights.is_file() or not record.is_file() or read_record(record).facts.status == "failed":
            return ""
        return f"{weights} was not kept with its record; give another place as --results, where it will be made again"

    @property
    def kind(self) -> tuple[Any, ...]:
        return (*super().kind, self.source.kind)

    @property
    def method(self) -> str:
        return self.source.method

    @property
    def on(self) -> str:
        return f"{super().on} (from {self.source.command.task})"

    @property
    def name(self) -> str:
        return f"{self.source.name}-on-{self.command.task}-{self.command.config.test.steps}"

    def record_path(self, places: Places) -> Path | None:
        config, trained = self.command.config.to_dict(), self.source.record_path(places)
        assert trained is not None
        key = _transfer_key(config, self.source.command.config.sha256(), self.source.seed, "best")
        weights = trained.with_name("best.safetensors")
        current = read_card(weights).sha256 if weights.is_file() else None
        paths = [path for path, tested in places.transfers.get(key, ()) if current in (None, tested)]
        return paths[0] if paths else None


class PretrainJob(Job):
    """Pre-trains a backbone."""

    module = "benchmarks.pretrain"

    @property
    def command(self) -> backbones.PretrainCommand:
        """As its own parser reads it."""
        return _parsed(backbones.parse, self.words)

    def arguments(self, places: Places) -> list[str]:
        return super().arguments(replace(places, results=places.backbones))

    @property
    def method(self) -> str:
        return f"backbone {self.command.backbone}"

    @property
    def on(self) -> str:
        return self.command.dataset

    @property
    def dataset(self) -> str | None:
        return self.command.dataset

    @property
    def name(self) -> str:
        return f"pretrain-{self.command.dataset}-{self.command.backbone}-{self.command.sha256()[:10]}-seed{self.seed}"

    def record_path(self, places: Places) -> Path | None:
        result = self.result(places)
        return None if result is None else result.with_name(PRETRAINING_NAME)

    def result(self, places: Places) -> Path | None:
        data = places.data / f"{self.command.dataset}.h5"
        if not data.is_file():
            return None
        return backbone_path(places.backbones, self.command.config, Dataset.open(data), self.seed)
