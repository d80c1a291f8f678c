"""Pre-train a backbone: `python -m benchmarks.pretrain --dataset mini_imagenet --backbone wrn_28_10`.

On several GPUs or hosts, with a folder of results that all of them share:
`python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.pretrain …`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.backbones.command import PretrainCommand, parse
from benchmarks.backbones.experiment import Pretraining, bring_in
from benchmarks.running.device import choose_device
from benchmarks.running.record import Record
from fewshot.backbones.distributed import World, joined
from fewshot.backbones.pretrain import PretrainingFailed
from fewshot.console import duration, run_command, say
from fewshot.data.catalog import open_dataset
from fewshot.data.store import Dataset


def run_seed(command: PretrainCommand, seed: int, dataset: Dataset, device: torch.device, world: World) -> None:
    """Pre-train with one seed, or find that it was done, and say what came out."""
    pretraining = Pretraining(command, seed, dataset, device, world)
    if pretraining.path.is_file() and not command.fresh and world.leads:
        say(f"seed {seed} was finished before (--fresh trains it again)")
    record = pretraining.execute(command.wait)
    if record is not None:
        say(_result(pretraining.path, record))


def _result(path: Path, record: Record) -> str:
    training = record.facts.training
    return (
        f"{path}: validation accuracy {training.best_accuracy:.2%}, best of {len(record.details.validation)}"
        f" validations, after {training.best_step} of {training.step} steps;"
        f" {duration(record.measured.train_seconds)}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    command = parse(arguments)
    chosen = choose_device(command.device, "bf16" if command.training.precision == "bf16" else "fp32")
    with joined(chosen) as (world, device):
        with world.leader_first():  # it may have to draw glyphs
            dataset = open_dataset(command.dataset, command.data, command.quiet or not world.leads)
        if command.import_weights is not None:
            path, accuracy = bring_in(command, dataset, command.import_weights)
            say(f"{path}: validation accuracy {accuracy:.2%}; use it with --learner.backbone {path}")
            return
        for seed in command.seeds:
            try:
                run_seed(command, seed, dataset, device, world)
            except PretrainingFailed as error:
                raise SystemExit(f"seed {seed} failed: {error}") from None


if __name__ == "__main__":
    run_command(main)
