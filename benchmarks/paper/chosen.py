"""Chosen options in the runs of a table: from files of `--config`, or tuned as the paper does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.jobs.kinds import FewShotJob, Job, OptimizeJob
from benchmarks.running.command import flags
from benchmarks.running.config_file import Value, read_options
from benchmarks.sweep.grid import Grid, of_equal_size, read_grid
from benchmarks.sweep.trials import TRACKS, Side, Track
from benchmarks.sweep.tune import Tuning, fresh
from fewshot.errors import InputError

PAPER_GRID = read_grid(["penalty.weight=0.1:100:log4", "penalty.radius=0.01:10:log4"])
"""λ in [1e-1, 1e2] and ε in [1e-2, 10], on a logarithmic scale (Xiong & Hsieh, section 5); four values of each."""
TUNING_SEEDS = 3
_AHEAD = {name for track in TRACKS.values() for name in track.line.ahead} - {"preset"}
"""Options that say which run it is."""

Words = tuple[str, ...]


def amended(jobs: Sequence[Job], words_for: Callable[[Job], Words]) -> list[Job]:
    """The same jobs with further options, of those that meta-train; what is only tested comes from those."""
    return [job.amended(words_for) for job in jobs]


def with_files(jobs: Sequence[Job], paths: Sequence[Path]) -> list[Job]:
    """Jobs with the options of files, each for those jobs that are what it says: method, dataset, regularizer …

    Raises:
        InputError: for a file that cannot be read, or is of no job.
    """
    for path in paths:
        chosen, used = read_options(path), [False]

        def words_for(job: Job, chosen: Mapping[str, Value] = chosen, used: list[bool] = used) -> Words:
            if not isinstance(job, FewShotJob | OptimizeJob) or not _is_of(job, chosen):
                return ()
            used[0] = True
            more = {name: value for name, value in chosen.items() if name not in _AHEAD}
            texts = (word for name, value in more.items() if isinstance(value, list) for word in (f"--{name}", *value))
            return (*texts, *flags(more, job.command))

        jobs = amended(jobs, words_for)
        if not used[0]:
            raise InputError(f"{path} is of no run here: its method, dataset, task or regularizer is another one")
    return list(jobs)


def _is_of(job: FewShotJob | OptimizeJob, chosen: Mapping[str, Value]) -> bool:
    return all([str(getattr(job.command, name, None))] == chosen[name] for name in _AHEAD if name in chosen)


@dataclass(frozen=True)
class Tuned:
    """What of a table's runs is tuned: each kind of meta-training, with equally many settings."""

    tuning: Tuning
    words: Sequence[Words]
    """Of the table's jobs, a side each."""

    def apply(self, jobs: Sequence[Job], chosen: Sequence[Words]) -> list[Job]:
        """The table's jobs with what was chosen, words a side."""
        of = dict(zip(self.words, chosen, strict=True))
        return amended(jobs, lambda job: of.get(job.words, ()))


def tuned(jobs: Sequence[Job], seeds: Sequence[int]) -> Tuned:
    """The paper's grid for what the jobs meta-train.

    A regularizer without ε gets as many λ, and what has neither as many meta-rates: equally many tries each.

    Args:
        jobs: of a table.
        seeds: of these; others are tuned on.

    Raises:
        InputError: where nothing is meta-trained.
    """
    found: dict[Words, Side] = {}

    def add(job: Job) -> Words:
        if isinstance(job, FewShotJob | OptimizeJob) and hasattr(job.command.training, "meta_rate"):
            track = TRACKS["run" if isinstance(job, FewShotJob) else "optimize"]
            if job.words not in found and getattr(job.command, "method", "") != "protonet":
                found[job.words] = Side(job.command.regularizer, track, job.words, _grid(job.command, track).settings)
        return ()

    amended(jobs, add)
    if not found:
        raise InputError("nothing here is meta-trained, so there is nothing to tune; leave --tune out")
    others = fresh(sorted({*seeds}))[:TUNING_SEEDS]
    return Tuned(Tuning(list(found.values()), others), list(found))


def _grid(command: Any, track: Track) -> Grid:
    of_penalty = {f"penalty.{f.name.replace('_', '-')}" for f in fields(command.penalty)} if command.penalty else set()
    known = Grid({n: v for n, v in PAPER_GRID.values.items() if n in of_penalty and command.regularizer != "none"})
    if len(known) == len(PAPER_GRID):
        return known
    option = "penalty.weight" if "penalty.weight" in known.values else track.rate
    return of_equal_size(known, len(PAPER_GRID), option, command.training.meta_rate)


def side_names(tuned: Tuned) -> list[str]:
    """Of files: what tells the sides apart."""
    return [side.base.config.run_name().rpartition("-")[0] for side in tuned.tuning.sides]
