"""What is made once, before runs that all need it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.jobs.plan import Plan
from fewshot.data.catalog import open_dataset


def prepared(plan: Plan, data: Path, quiet: bool) -> None:
    """Draw the embedded datasets that a plan needs, instead of having every run do it.

    Raises:
        InputError: for a dataset that is not there.
    """
    for dataset in dict.fromkeys(run.job.dataset for run in plan.todo):
        if dataset is not None:
            open_dataset(dataset, data, quiet)
