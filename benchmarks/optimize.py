"""The general track: `python -m benchmarks.optimize --optimizer simple --smooth --task digits_mlp`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.general.base import GeneralExperiment
from benchmarks.general.command import parse
from benchmarks.general.experiment import experiment_of
from benchmarks.general.verdict import how_it_went
from benchmarks.reporting.beside import table_beside
from benchmarks.running.device import choose_device
from benchmarks.running.execute import end, run_seeds, validate_seeds
from fewshot.console import run_command, say
from fewshot.general.tasks import open_task


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and print the table of all that was tested on the same problems and how
    meta-training went."""
    command = parse(arguments)
    device = choose_device(command.device, command.precision)
    task = open_task(command.task, command.data, device)
    task.use_precision(command.precision)

    def experiment(seed: int) -> GeneralExperiment:
        return experiment_of(command, seed, task, device)

    if command.validate_only:
        validate_seeds(command, experiment)
        return
    records = run_seeds(command, experiment)
    say(table_beside(command.results, records))
    for record in records:
        if (line := how_it_went(record.facts)) is not None:
            say(line)
    end(records)


if __name__ == "__main__":
    run_command(main)
