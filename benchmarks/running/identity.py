"""What tells one configuration from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any


def plain_data(options: Any) -> dict[str, Any]:
    """A dataclass of options as JSON values: equal to itself read back from a record."""
    return json.loads(json.dumps(asdict(options)))


def config_sha256(options: Mapping[str, Any]) -> str:
    """SHA-256 of options as canonical JSON."""
    return hashlib.sha256(json.dumps(options, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def fitting(kind: type, **values: Any) -> Any:
    """Options of type `kind` with those of `values` that it has."""
    return kind(**{f.name: values[f.name] for f in fields(kind) if f.name in values})
