"""Where each row of the page comes from, as compact plain data that is unfolded in the browser on demand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.reporting.groups import Group
from benchmarks.reporting.naming import flat
from benchmarks.reporting.rows import Row
from benchmarks.running.record import Record
from benchmarks.running.schema import FewShotFacts
from fewshot.registry import Plugin


def provenance(groups: Sequence[Group]) -> dict[str, Any]:
    """Configuration and runs of every row, in the order of `groups` and their rows.

    What many rows share is written once: `pool` holds it, rows refer to it by position.

    Returns:
        rows: each with config (option -> position of its value), differs (options in which rows of the group
        differ), facts (name -> value), and runs (one a seed). pool: the values.
    """
    pool = _Pool()
    rows = []
    for group in groups:
        configs = [flat(_first(row).facts.config) for row in group.rows]
        differing = _differing(configs)
        for row, config in zip(group.rows, configs, strict=True):
            rows.append(
                {
                    "config": {name: pool(value) for name, value in config.items()},
                    "differs": sorted(name for name in config if name in differing),
                    "facts": [[name, pool(value)] for name, value in _facts(row).items()],
                    "runs": [_run(record, pool) for record in row.records.values()],
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


def _first(row: Row) -> Record:
    return next(iter(row.records.values()))


def _facts(row: Row) -> dict[str, Any]:
    facts = _first(row).facts
    found = {
        "dataset": facts.dataset.name,
        "dataset fingerprint": facts.dataset.fingerprint,
        "pixels": facts.dataset.pixels or "not recorded",
        "config SHA-256": facts.config_sha256,
        "test SHA-256": row.tested_on[1],
        "meta-parameters": facts.meta_parameters,
    }
    if isinstance(facts, FewShotFacts):
        backbone = msgspec.structs.asdict(facts.backbone) if facts.backbone else {}
        return found | {f"backbone {name}": value for name, value in backbone.items()}
    return found if facts.rate is None else found | {"learning rate chosen on validation": facts.rate}


def _run(record: Record, pool: _Pool) -> list[Any]:
    """In the order in which `report.js` reads them."""
    facts, measured = record.facts, record.measured
    environment = facts.environment
    memory = measured.peak_memory_bytes
    return [
        facts.seed,
        pool(f"failed: {facts.failure}" if facts.failure else facts.status),
        round(measured.train_seconds, 1),
        round(measured.test_seconds, 1),
        None if memory is None else round(memory / 1e6),
        measured.interruptions,
        measured.finished,
        pool(_device(record)),
        pool(environment.commit),
        pool(environment.versions),
        pool([_plugin(plugin) for plugin in environment.plugins]),
        record.digest,
    ]


def _device(record: Record) -> str:
    environment, precision = record.facts.environment, record.facts.config.get("precision", "fp32")
    parts = (environment.device, environment.processor, f"{environment.threads} threads", precision)
    return ", ".join(filter(None, parts))


def _plugin(plugin: Plugin) -> str:
    return f"{plugin.name} {plugin.version}" if plugin.version else f"{plugin.name} (SHA-256 {plugin.sha256})"


def _differing(configs: Sequence[Mapping[str, Any]]) -> set[str]:
    names = {name for config in configs for name in config}
    return {name for name in names if len({json.dumps(config.get(name, "absent")) for config in configs}) > 1}
