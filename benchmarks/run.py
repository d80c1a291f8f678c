"""The few-shot benchmark: `python -m benchmarks.run --method meta_lstm --smooth --way 5 --shot 1`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from benchmarks.few_shot.base import FewShotBase
from benchmarks.few_shot.command import FewShotCommand, parse
from benchmarks.few_shot.experiment import FewShotExperiment, with_features
from benchmarks.few_shot.presets import preset_name
from benchmarks.few_shot.transfer import Transferred
from benchmarks.reporting.beside import table_beside
from benchmarks.running.device import choose_device
from benchmarks.running.execute import end, run_seeds, validate_seeds
from fewshot.backbones.pretrain import PretrainingFailed
from fewshot.console import note, run_command, say
from fewshot.data.catalog import CATALOG, open_dataset
from fewshot.data.store import Dataset


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and print the table of what it ran beside what differs in the regularizer alone."""
    command = parse(arguments)
    if command.evaluate is None and command.preset == "auto" and command.dataset not in CATALOG:
        _say_what_paper_takes(command)
    device = choose_device(command.device, command.precision)
    dataset = open_dataset(command.dataset, command.data, command.quiet)
    experiments = _experiments(command, dataset, device)
    if command.validate_only:
        validate_seeds(command, experiments)
        return
    records = run_seeds(command, experiments)
    say(table_beside(command.results, records))
    end(records)


def _say_what_paper_takes(command: FewShotCommand) -> None:
    if preset_name("auto", command) == "paper":
        episodes = f"{command.training.episodes:,} episodes of meta-training"
        note(f"{command.dataset} is in no catalogue: preset paper, {episodes}; --preset quick takes minutes instead")


def _experiments(command: FewShotCommand, dataset: Dataset, device: torch.device) -> Callable[[int], FewShotBase]:
    """What makes the experiment of a seed."""
    if command.evaluate is not None:
        return lambda seed: Transferred(command, dataset, device)
    try:
        of_features, backbone = with_features(command, dataset, device)
    except PretrainingFailed as error:
        raise SystemExit(f"pre-training failed: {error}") from None
    return lambda seed: FewShotExperiment(command, seed, of_features, device, backbone)


if __name__ == "__main__":
    run_command(main)
