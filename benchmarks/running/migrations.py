"""Records of older versions, brought to the next one as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.running.identity import config_sha256

_PENALTIES = {"l2": ("weight",), "orthogonal": ("weight",), "spectral": ()}
"""Options that regularizers have; version 1 gave every regularizer those of smoothness too."""
_PROTOCOL = ("task", "dataset", "fingerprint", "steps", "initializations", "seed", "points", "batch_size", "sha256")


def migrate_1(old: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of version 2 of a record of version 1.

    Version 1 was flat, and kept curves beside counts. Its regularizers shared their options, so that the hash of a
    configuration of l2, orthogonal or spectral is another one now.

    Raises:
        KeyError, TypeError: where it is not what version 1 was.
    """
    config = _config(old["config"])
    facts = {
        "track": old["track"],
        "config": config,
        "config_sha256": old["config_sha256"] if config == old["config"] else config_sha256(config),
        "seed": old["seed"],
        "dataset": old["dataset"],
        "environment": {name: old[name] for name in ("versions", "commit", "device", "threads")},
    }
    training = old["training"]
    if old["track"] == "pretraining":
        facts |= {"processes": old["processes"], "bfloat16": old["bfloat16"]}
        facts["training"] = {name: training[name] for name in ("step", "best_step", "best_accuracy")}
        return _parts(facts, None, {name: training[name] for name in ("curve", "validation")}, old)
    facts |= {name: old[name] for name in ("status", "failure", "meta_parameters")}
    results = old["test"] or None
    if old["track"] == "few_shot":
        facts |= {name: old[name] for name in ("transductive", "manifests", "queries_per_episode")}
        facts["backbone"] = old.get("backbone")
        names = ("episode", "skipped", "best_episode", "best_accuracy")
        details = {name: training[name] for name in ("curve", "validation")}
    else:
        facts |= {"protocol": _protocol(old["protocol"]), "rate": old.get("rate")}
        names = ("unroll", "skipped", "best_unroll", "best_loss")
        curves = ("curve", "imitation", "validation", "stages")
        details = {name: training[name] for name in curves if name in training}
        details |= {name: old[name] for name in ("grid", "smoothness") if name in old}
    facts["training"] = {name: training[name] for name in names} if training else None
    return _parts(facts, results, details, old)


def _parts(facts: Any, results: Any, details: Any, old: Mapping[str, Any]) -> dict[str, Any]:
    return {"facts": facts, "results": results, "details": details, "measured": old["measured"]}


def _config(config: dict[str, Any]) -> dict[str, Any]:
    kept, penalty = _PENALTIES.get(config.get("regularizer", "none")), config.get("penalty")
    return config if kept is None or not penalty else {**config, "penalty": {name: penalty[name] for name in kept}}


def _protocol(protocol: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: protocol[name] for name in _PROTOCOL}
    return {**named, "task_facts": {name: value for name, value in protocol.items() if name not in _PROTOCOL}}
