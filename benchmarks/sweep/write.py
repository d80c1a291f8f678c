"""What a sweep leaves: its tables, heat maps, and chosen configurations as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.running.command import options
from benchmarks.running.config_file import write_options
from benchmarks.sweep.show import Outcome, draw, heading, table, two_numbers
from benchmarks.sweep.trials import Side
from benchmarks.sweep.tune import Tuning
from fewshot.files import write_text


def write_outcomes(tuning: Tuning, outcomes: Sequence[Outcome], out: Path, title: str) -> tuple[str, list[Path]]:
    """Write sweep.md, and of every side its heat map, where two options vary, and a file for `--config`.

    Returns:
        The text of the tables, and what was written.
    """
    alone = len({outcome.regularizer for outcome in outcomes}) == len(outcomes)
    texts, written = [], [out / "sweep.md"]
    for side, outcome in zip(tuning.sides, outcomes, strict=True):
        what = side.base.run_name().rpartition("-")[0]
        name = outcome.regularizer if alone else what
        texts.append(f"## {'' if alone else f'{what}, '}{heading(outcome)}\n\n{table(outcome)}")
        chosen = out / f"chosen-{name}.toml"
        by = f"chosen by the rule {tuning.rule!r} on validation, over seeds {' '.join(map(str, tuning.seeds))}"
        write_chosen(chosen, side, outcome, [f"python -m {side.track.line.program} --config {chosen.name}", by])
        written.append(chosen)
        names = two_numbers(outcome.settings)
        if names is not None:
            written += draw(outcome, names, out / f"heat-map-{name}", f"{what}: {outcome.metric}")
    text = "\n\n".join([f"# {title}", *texts])
    write_text(written[0], text + "\n")
    return text, written


def write_chosen(path: Path, side: Side, outcome: Outcome, heading: Sequence[str]) -> None:
    """The chosen configuration as a file for `--config`: what was given, and the setting."""
    words = side.words_of(outcome.chosen)
    command = side.track.line.parse(words)
    ahead = {name: getattr(command, name) for name in side.track.line.ahead if name != "preset"}
    values = {name: _plain_value(command, name) for name, _ in options(words) if name not in ahead}
    write_options(path, {**ahead, **values}, heading)


def _plain_value(command: Any, name: str) -> Any:
    """Of an option, as TOML can say it."""
    value: Any = command
    for part in name.removeprefix("no-").split("."):
        value = getattr(value, part.removeprefix("no-").replace("-", "_"))
    if isinstance(value, tuple):
        return [each if isinstance(each, bool | int | float) else str(each) for each in value]
    return value if isinstance(value, bool | int | float) else str(value)
