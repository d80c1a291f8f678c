"""What tells one configuration from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any


def plain_data(options: Any) -> dict[str, Any]:
    """A dataclass of options as JSON values: equal to itself read back from a record.

    Options that came later are left out where they have their default, so that older configurations keep their hash
    (`fewshot.optimizers.coordinatewise.OMITTED_DEFAULT`).
    """
    return json.loads(json.dumps(_without_later_defaults(options, asdict(options))))


def _without_later_defaults(options: Any, data: dict[str, Any]) -> dict[str, Any]:
    for each in fields(options):
        value = getattr(options, each.name)
        if each.metadata.get("omit_default") and value == each.default:
            del data[each.name]
        elif is_dataclass(value):
            _without_later_defaults(value, data[each.name])
    return data


def config_sha256(options: Mapping[str, Any]) -> str:
    """SHA-256 of options as canonical JSON."""
    return hashlib.sha256(json.dumps(options, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def fitting(kind: type, **values: Any) -> Any:
    """Options of type `kind` with those of `values` that it has."""
    return kind(**{f.name: values[f.name] for f in fields(kind) if f.name in values})
