"""Options chosen on validation: `python -m benchmarks.sweep optimize --smooth --grid penalty.weight=0.1:100:log4`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks.jobs.kinds import Places
from benchmarks.jobs.options import Executor
from benchmarks.jobs.plan import Plan, make_plan
from benchmarks.jobs.prepare import prepared
from benchmarks.jobs.schedule import run_jobs
from benchmarks.report import ReportCommand, write_report
from benchmarks.reporting.read import load
from benchmarks.running.command import check_seeds, options, parse_as, plugins_in
from benchmarks.sweep.choose import Rule
from benchmarks.sweep.grid import read_grid
from benchmarks.sweep.show import Outcome, differences
from benchmarks.sweep.tune import Tuning, fresh, sides_of
from benchmarks.sweep.write import write_outcomes
from fewshot.console import run_command, say
from fewshot.errors import InputError
from fewshot.registry import load_plugins

_REFUSED = {
    "fresh": "give another --results",
    "validate-only": "that is what trials do; leave it out",
    "stop-at": "use --halving",
    "wait": "trials do; leave it out",
    "manifest": "take it from a run of benchmarks.run",
    "evaluate": "an optimizer that is only tested has nothing to choose",
}


@dataclass(frozen=True)
class SweepCommand(Executor, Places):
    """Choose options of a run by validation, over seeds; then judge what was chosen on fresh seeds and test problems.

    Options other than these are those of the runs: `python -m benchmarks.run --help`, `python -m benchmarks.optimize
    --help`. With --smooth (or --regularizer), the same without a regularizer is tuned beside it, with as many trials.
    Nothing is tested, and no test value read, before the choice is made. The same command again goes on where it was.
    """

    track: Annotated[Literal["run", "optimize"], tyro.conf.Positional] = "run"
    """Whose runs: benchmarks.run or benchmarks.optimize."""
    grid: tuple[str, ...] = ()
    """Options and their values, from the simplest on: penalty.weight=0.1:100:log4 penalty.radius=0.01,0.1,1,10."""
    plain_grid: tuple[str, ...] = ()
    """The same for the side without a regularizer; default: what it has of --grid, and so many meta-rates more, from a
    quarter of the preset's to four times that, that both have equally many settings."""
    plain: bool = True
    """Tune the side without a regularizer too."""
    rule: Rule = "best"
    """best: the best mean on validation; simplest: the first setting of the grid within one standard error of it."""
    halving: int | None = None
    """For large grids: train one in so many settings on, at a ninth and a third of meta-training (of 3); needs Optuna.
    Others stop there."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of trials."""
    fresh_seeds: tuple[int, ...] | None = None
    """Of the runs that judge what was chosen; None: as many, following those of trials."""
    test: bool = True
    """Judge what was chosen; --no-test: end with the choice."""
    dry_run: bool = False
    """Print the plan, and do nothing."""
    out: Path = Path("results/sweep")
    """Where tables, heat maps and chosen configurations are written."""
    quiet: bool = False
    """No progress."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seeds(self.seeds)
        if not self.grid:
            raise InputError("there is no --grid; give options and values, such as penalty.weight=0.1:100:log4")
        if self.halving is not None and self.halving < 2:
            raise InputError(f"halving is {self.halving}; it must be at least 2")
        if self.fresh_seeds is not None:
            check_seeds(self.fresh_seeds)
            shared = sorted({*self.seeds} & {*self.fresh_seeds})
            if shared:
                raise InputError(
                    f"fresh_seeds has {shared[0]}, a seed of trials: nothing is to be chosen and judged on the same"
                    " runs; give others"
                )

    @property
    def places(self) -> Places:
        """Where things lie."""
        return Places(**{f.name: getattr(self, f.name) for f in fields(Places)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Trials, the choice, and the runs that judge it; exit status 1 where a run failed."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    load_plugins(plugins_in(given))
    command, words = _parse(given)
    plain_grid = read_grid(command.plain_grid) if command.plain_grid else None
    sides = sides_of(command.track, words, read_grid(command.grid), plain_grid, command.plain)
    tuning = Tuning(sides, command.seeds, command.rule, command.halving)
    plan = make_plan(tuning.first_jobs(), command.places)
    say(f"# {_title(command, words)}\n\n{plan.table()}\n\n{command.summary(plan)}")
    if plan.unprepared:
        raise InputError("; ".join(plan.unprepared))
    if command.dry_run:
        return
    prepared(plan, command.data, command.quiet)
    outcomes, failures = tuning.run(command.places, lambda plan: _run(plan, command))
    if failures:
        say("\n".join(["", "nothing is chosen, because trials failed:", *failures]))
        raise SystemExit(1)
    _show(command, words, tuning, outcomes)
    if not command.test:
        return
    seeds = command.fresh_seeds or fresh(command.seeds)
    jobs = [job for side, found in zip(sides, outcomes, strict=True) for job in side.runs(found.chosen, seeds)]
    plan = make_plan(jobs, command.places)
    say(f"\nwhat was chosen, on fresh seeds and the test problems:\n\n{plan.table()}\n\n{command.summary(plan)}")
    failures = _run(plan, command)
    _report(make_plan(jobs, command.places), command)
    if failures:
        say("\n".join(["", *failures]))
        raise SystemExit(1)


def _run(plan: Plan, command: SweepCommand) -> list[str]:
    if not plan.todo:
        return []
    return run_jobs(plan, command.places, command.engine_for(plan, command.places), command.quiet)


def _parse(given: Sequence[str]) -> tuple[SweepCommand, list[str]]:
    """The sweep's own options, and the words of its runs."""
    own = {f.name.replace("_", "-") for f in fields(SweepCommand)} | {"no-plain", "no-test", "help"}
    first = next((i for i, word in enumerate(given) if word.startswith("-")), len(given))
    mine, theirs = list(given[:first]), []
    for name, values in options(given[first:]):
        if name in _REFUSED:
            raise InputError(f"--{name} is no option of a sweep; {_REFUSED[name]}")
        (mine if name in own else theirs).extend([f"--{name}", *values])
    if mine[:1] not in (["run"], ["optimize"]) and not {"--help", "-h"} & {*given}:
        raise InputError("say whose runs to sweep over: python -m benchmarks.sweep run …, or optimize …")
    command = parse_as(SweepCommand, None, "benchmarks.sweep", mine)
    plugins = [word for plugin in command.plugin for word in ("--plugin", plugin)]
    return command, [*theirs, *plugins]


def _title(command: SweepCommand, words: Sequence[str]) -> str:
    return f"Sweep: benchmarks.{command.track} {shlex.join(words)} over {' '.join(command.grid)}"


def _show(command: SweepCommand, words: Sequence[str], tuning: Tuning, outcomes: Sequence[Outcome]) -> None:
    """The choice as tables, heat maps and files for --config."""
    text, written = write_outcomes(tuning, outcomes, command.out, _title(command, words))
    say(f"\n{text}\n\nwritten to {', '.join(map(str, written))}")


def _report(plan: Plan, command: SweepCommand) -> None:
    """Tables, page and figures of the runs that judge the choice."""
    paths = [run.path for run in plan.runs if run.path is not None]
    if paths:
        out = command.out / "test"
        rows = load(paths)
        text, written = write_report(rows, ReportCommand(out=out), "Chosen on validation, on fresh seeds")
        parts = [text, *differences(rows), f"written to {', '.join(map(str, written))}"]
        say("".join(f"\n{part}\n" for part in parts))


if __name__ == "__main__":
    run_command(main)
