"""The table of `benchmarks.optimize`: what was tested on the same problems."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.reporting.statistics import mean_interval
from benchmarks.running.record import find_records, read_record
from fewshot.errors import InputError


def table(results: Path, protocol: str) -> str:
    """Markdown: final test loss and accuracy of every configuration below `results` with this protocol.

    One seed: mean and 95 % t interval over initializations; several: over the seeds' means. Initializations that
    diverged are counted, never averaged.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for path in find_records([results]):
        try:
            record = read_record(path)
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if record.get("track") == "general" and record["protocol"]["sha256"] == protocol:
            groups.setdefault(record["config_sha256"], []).append(record)
    lines = [_line(members) for members in groups.values()]
    frame = pd.DataFrame(sorted(lines, key=lambda line: line["test loss"]))
    return frame.to_markdown(index=False, disable_numparse=True)


def _line(members: list[Mapping[str, Any]]) -> dict[str, str]:
    config, runs = members[0]["config"], [_finals(record) for record in members if record["status"] == "finished"]
    count = sum(len(record["test"]["best"]["runs"]) for record in members if record["status"] == "finished")
    finished = [final for final in runs if final]
    diverged = count - sum(map(len, finished))
    return {
        "task": config["task"],
        "optimizer": config["optimizer"],
        "regularizer": config["regularizer"],
        "config": members[0]["config_sha256"][:10],
        "test loss": _interval([[final[0] for final in one] for one in finished], 1, 4),
        "test accuracy (%)": _interval([[final[1] for final in one] for one in finished], 100, 2),
        "over": f"{len(finished)} seeds" if len(finished) > 1 else f"{sum(map(len, finished))} initializations",
        "diverged": f"{diverged}/{count}",
        "failed": str(len(members) - len(runs)),
    }


def _finals(record: Mapping[str, Any]) -> list[tuple[float, float | None]]:
    """Test loss and accuracy at the end, of initializations that did not diverge."""
    runs = [run for run in record["test"]["best"]["runs"] if run["diverged_at"] is None]
    return [(run["test_loss"][-1], run["test_accuracy"][-1] if run["test_accuracy"] else None) for run in runs]


def _interval(by_seed: list[list[Any]], scale: float, digits: int) -> str:
    if not by_seed or any(value is None for values in by_seed for value in values):
        return ""
    values = by_seed[0] if len(by_seed) == 1 else [np.mean(values) for values in by_seed]
    found = mean_interval(scale * np.asarray(values))
    return f"{found.mean:.{digits}f} ± {found.half_width:.{digits}f}"
