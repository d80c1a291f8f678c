"""The few-shot benchmark: `python -m benchmarks.run --method meta_lstm --smooth --way 5 --shot 1`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.few_shot.command import parse
from benchmarks.few_shot.experiment import FewShotExperiment, with_features
from benchmarks.few_shot.presets import preset_name
from benchmarks.reporting.beside import table_beside
from benchmarks.running.device import choose_device
from benchmarks.running.execute import end, run_seeds, validate_seeds
from fewshot.backbones.pretrain import PretrainingFailed
from fewshot.console import note, run_command, say
from fewshot.data.catalog import CATALOG, open_dataset


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and print the table of what it ran beside what differs in the regularizer alone."""
    command = parse(arguments)
    if command.preset == "auto" and command.dataset not in CATALOG and preset_name("auto", command) == "paper":
        episodes = f"{command.training.episodes:,} episodes of meta-training"
        note(f"{command.dataset} is in no catalogue: preset paper, {episodes}; --preset quick takes minutes instead")
    device = choose_device(command.device)
    dataset = open_dataset(command.dataset, command.data, command.quiet)
    try:
        dataset, backbone = with_features(command, dataset, device)
    except PretrainingFailed as error:
        raise SystemExit(f"pre-training failed: {error}") from None

    def experiment(seed: int) -> FewShotExperiment:
        return FewShotExperiment(command, seed, dataset, device, backbone)

    if command.validate_only:
        validate_seeds(command, experiment)
        return
    records = run_seeds(command, experiment)
    say(table_beside(command.results, records))
    end(records)


if __name__ == "__main__":
    run_command(main)
