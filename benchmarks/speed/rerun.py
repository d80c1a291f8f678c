"""How far re-runs of one meta-training differ: the same seed with other threads, and with sums in another order."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.few_shot.command import parse
from benchmarks.few_shot.experiment import FewShotExperiment
from benchmarks.reporting.wording import count
from fewshot.console import note
from fewshot.data.catalog import open_dataset
from fewshot.data.episodes import Episode, EpisodeSampler
from fewshot.errors import InputError
from fewshot.seeding import derive


@dataclass(frozen=True)
class RerunSpread:
    """Meta-train Meta-LSTM again and again with one seed, and show how far its test accuracies lie apart.

    Re-runs differ in rounding alone: in the threads of torch, and in the order of the queries of meta-training
    episodes, over which the meta-loss and batch norm sum.
    """

    orders: int = 4
    """Orders of the queries, the drawn one among them."""
    threads: tuple[int, ...] = (1, 2)
    """Threads of torch; every order is run with each."""
    episodes: int = 200
    """Of meta-training; half as many between validations, on 50 episodes."""
    test_episodes: int = 200
    """Of the test."""
    options: tuple[str, ...] = ()
    """Of `benchmarks.run`, such as --options --smooth --shot 5; glyphs, 5 ways and 1 shot where they say nothing."""
    seed: int = 0
    """Of all re-runs."""

    def __post_init__(self) -> None:
        for name, low in (("orders", 1), ("episodes", 2), ("test_episodes", 1)):
            if getattr(self, name) < low:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {low}")
        if not self.threads or min(self.threads) < 1:
            raise InputError(f"threads are {self.threads}; give numbers of at least 1")
        if self.orders * len(self.threads) < 2:
            raise InputError("a spread needs two re-runs; give --orders of 2 or more, or two numbers of --threads")


class Reordered:
    """The episodes of a sampler, each with its queries in another order."""

    def __init__(self, sampler: EpisodeSampler, order: int) -> None:
        """Wrap.

        Args:
            sampler: of episodes.
            order: which; 0 is that of the sampler.
        """
        self._sampler, self._order = sampler, order

    def __getitem__(self, index: int) -> Episode:
        episode = self._sampler[index]
        if not self._order:
            return episode
        generator = torch.Generator().manual_seed(derive(self._order, "order", index))
        places = torch.randperm(len(episode.query_y), generator=generator)
        return replace(
            episode,
            query_x=episode.query_x[places].contiguous(memory_format=torch.channels_last),
            query_y=episode.query_y[places],
            query_index=episode.query_index[places.numpy()],
        )


def measure_rerun_spread(command: RerunSpread) -> pd.DataFrame:
    """A line for the re-runs of each number of threads, and one for all: their accuracies in %, and how they vary.

    Raises:
        InputError: for options that `benchmarks.run` does not have, or where a re-run fails.
    """
    accuracies = {(n, order): _accuracy(command, n, order) for order in range(command.orders) for n in command.threads}
    groups = {count(n, "threads"): [accuracies[n, order] for order in range(command.orders)] for n in command.threads}
    if len(groups) > 1:
        groups["all"] = list(accuracies.values())
    return pd.DataFrame([_line(name, np.array(found)) for name, found in groups.items()])


def _line(name: str, accuracies: np.ndarray) -> dict[str, object]:
    spread = float(accuracies.std(ddof=1)) if len(accuracies) > 1 else float("nan")
    line = {"re-runs with": name, "re-runs": len(accuracies), "mean accuracy (%)": float(accuracies.mean())}
    return {**line, "standard deviation": spread, "largest difference": float(np.ptp(accuracies))}


def _accuracy(command: RerunSpread, threads: int, order: int) -> float:
    """Mean test accuracy in % of one re-run."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            experiment = _experiment(command, Path(folder), order)
            facts, results = (record := experiment.execute()).facts, record.results
    finally:
        torch.set_num_threads(before)
    if results is None:
        raise InputError(f"the re-run with {threads} threads failed: {facts.failure}; give other --options")
    accuracy = 100 * float(np.mean(results.best.correct)) / facts.queries_per_episode
    note(f"{count(threads, 'threads')}, order {order}: {accuracy:.2f} %")
    return accuracy


def _experiment(command: RerunSpread, folder: Path, order: int) -> FewShotExperiment:
    sizes = {
        "training.episodes": command.episodes,
        "training.validate-every": max(1, command.episodes // 2),
        "training.validation-episodes": 50,
        "test.episodes": command.test_episodes,
        "results": folder,
    }
    words = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    run = parse(["--quiet", *words, *command.options])
    device = torch.device("cpu")
    experiment = FewShotExperiment(run, command.seed, open_dataset(run.dataset, run.data, quiet=True), device)
    experiment.training = Reordered(experiment.training, order)
    return experiment
