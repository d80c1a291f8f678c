"""The one place that knows how `benchmarks.reporting.rows` names things: from its rows to what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.reporting.figures.forest import Difference
from benchmarks.reporting.items import FEW_SHOT, Item


def items_of(rows: Sequence[Any]) -> list[Item]:
    return [item_of(row) for row in rows]


def item_of(row: Any) -> Item:
    records, config = tuple(row.records), row.config
    first = records[0]
    few_shot = first["track"] == FEW_SHOT
    return Item(
        track=first["track"],
        dataset=first["dataset"]["name"],
        experiment=_few_shot_title(config) if few_shot else _general_title(config),
        test=first["manifests"]["test"]["sha256"] if few_shot else first["protocol"]["sha256"],
        method=config["method"] if few_shot else config["optimizer"],
        regularizer=config["regularizer"],
        settings=getattr(row, "settings", ""),
        learned=few_shot or config["core"] is not None,
        transductive=bool(first.get("transductive")),
        records=records,
    )


def _few_shot_title(config: Any) -> str:
    return f"{config['dataset']}, {config['way']}-way {config['shot']}-shot"


def _general_title(config: Any) -> str:
    transfer = config.get("transfer")
    origin = f", optimizers from {transfer['task']}" if transfer else ""
    return f"{config['task']}, {config['test']['steps']} steps{origin}"


def differences_of(comparisons: Sequence[Any]) -> list[Difference]:
    return [c for c in comparisons if isinstance(c, Difference)]
