"""Where each row of the page comes from, as compact plain data that is unfolded in the browser on demand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.reporting.items import Experiment, Item


def provenance(groups: Sequence[Experiment]) -> dict[str, Any]:
    """Configuration and runs of every item, in the order of `groups` and their items.

    What many rows share is written once: `pool` holds it, rows refer to it by position.

    Returns:
        rows: each with config (option -> position of its value), differs (options in which rows of the experiment
        differ), facts (name -> value), and runs (one a seed). pool: the values.
    """
    pool = _Pool()
    rows = []
    for group in groups:
        configs = [dict(_flat(item.row.records[0]["config"])) for item in group.items]
        differing = _differing(configs)
        for item, config in zip(group.items, configs, strict=True):
            rows.append(
                {
                    "config": {name: pool(value) for name, value in config.items()},
                    "differs": sorted(name for name in config if name in differing),
                    "facts": [[name, pool(value)] for name, value in _facts(item).items()],
                    "runs": [_run(record, pool) for record in item.row.records],
                }
            )
    return {"rows": rows, "pool": pool.values}


class _Pool:
    """Values by position, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def __call__(self, value: Any) -> int:
        key = json.dumps(value, sort_keys=True)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def _facts(item: Item) -> dict[str, Any]:
    first = item.row.records[0]
    test = first["manifests"]["test"] if "manifests" in first else first["protocol"]
    facts = {
        "dataset": first["dataset"]["name"],
        "dataset fingerprint": first["dataset"]["fingerprint"],
        "pixels": first["dataset"].get("pixels") or "not recorded",
        "config SHA-256": first["config_sha256"],
        "test SHA-256": test["sha256"],
        "meta-parameters": first.get("meta_parameters"),
    }
    if first.get("rate") is not None:
        facts["learning rate chosen on validation"] = first["rate"]
    if first.get("backbone"):
        facts |= {f"backbone {name}": value for name, value in first["backbone"].items()}
    return facts


def _run(record: Mapping[str, Any], pool: _Pool) -> list[Any]:
    """In the order in which `report.js` reads them."""
    measured = record.get("measured", {})
    status = record["status"] if not record["failure"] else f"failed: {record['failure']}"
    memory = measured.get("peak_memory_bytes")
    threads = record.get("threads")
    device = f"{record.get('device')}" + (f", {threads} threads" if threads else "")
    return [
        record["seed"],
        pool(status),
        _rounded(measured.get("train_seconds")),
        _rounded(measured.get("test_seconds")),
        None if memory is None else round(memory / 1e6),
        measured.get("interruptions"),
        measured.get("finished"),
        pool(device),
        pool(record.get("commit")),
        pool(record.get("versions")),
        record.get("digest"),
    ]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _differing(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    names = {name for config in configs for name in config}
    return {name for name in names if len({json.dumps(config.get(name, "absent")) for config in configs}) > 1}
