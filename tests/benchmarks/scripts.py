"""Jobs that are a few lines of Python in place of a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.jobs.kinds import Job, Places


@dataclass(frozen=True)
class Script(Job):
    """A few lines of Python in place of a command: `words` are statements."""

    label: str = ""
    made: str = ""

    module = "timeit"
    method = property(lambda self: self.label)
    on = property(lambda self: "nothing")
    name = method
    dataset = property(lambda self: None)
    leaves = property(lambda self: self.made)

    def arguments(self, places: Places) -> list[str]:
        return ["-n1", "-r1", *self.words]

    def record_path(self, places: Places) -> Path | None:
        return None


def writes(path: Path, text: str, pause: float = 0.0) -> tuple[str, ...]:
    log = f"open({str(path)!r}, 'a').write"
    return (f"{log}('<{text}')", f"import time; time.sleep({pause})", f"{log}('{text}>')")
