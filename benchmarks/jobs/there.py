"""A run on another machine: what comes in, where it works, and what goes back.

Runs in a worker of Ray. Nothing here imports more than the standard library until it is needed: the run itself is a
process of its own (`launch`), as on the driver's machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.jobs.launch import GRACE_SECONDS, launch, threads_of_runs

ROOT = "/@"
"""Stands for the folder of a run on its machine."""
FEATURES = "/@features"
"""Stands for a folder that runs of one machine share."""
CHECKPOINT = "checkpoint.pt"
UPLOAD_SECONDS = 2.0
"""Between looks at a checkpoint that has to be kept elsewhere."""
REFUSED = 2
"""Exit status of a command that cannot use what it was given."""


@dataclass(frozen=True)
class Request:
    """A run, as it is sent."""

    module: str
    arguments: tuple[str, ...]
    """With `ROOT` and `FEATURES` for what differs from machine to machine."""
    threads: int
    inputs: tuple[str, ...]
    """Files that it needs, below `ROOT`."""
    folder: str | None
    """Of the run, below `ROOT`; None where that cannot be told before."""
    storage: str | None
    """Where its checkpoint is kept; None: nowhere else."""


@dataclass(frozen=True)
class Returned:
    """What came of it."""

    status: int
    """Exit status, negative where it was killed."""
    node: str
    output: bytes
    files: Mapping[str, bytes]
    """That it left, by path below `ROOT`; empty where it failed."""
    sha256: Mapping[str, str]
    """Of the files, taken where they were written."""


def run_there(request: Request, *contents: bytes) -> Returned:
    """Run a command in a folder of its own, which is gone afterwards.

    Args:
        request: the run.
        contents: of its inputs.
    """
    root = Path(tempfile.mkdtemp(prefix="fewshot-run-"))
    try:
        for name, content in zip(request.inputs, contents, strict=True):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        log = root / "output"
        status = _run(request, root, log)
        files = _left(root, request.inputs) if status == 0 else {}
        sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        return Returned(status, socket.gethostname(), log.read_bytes(), files, sha256)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _run(request: Request, root: Path, log: Path) -> int:
    """Exit status. A run that refuses the checkpoint of an earlier attempt begins again without it."""
    checkpoint = None if request.folder is None else root / request.folder / CHECKPOINT
    if checkpoint is None or request.storage is None:
        return _process(request, root, log)
    kept = Kept(request.storage, f"{request.folder}/{CHECKPOINT}")
    found = kept.fetch(checkpoint)
    with kept.following(checkpoint):
        status = _process(request, root, log)
        if status == REFUSED and found:
            checkpoint.unlink(missing_ok=True)
            status = _process(request, root, log)
    return status


def _process(request: Request, root: Path, log: Path) -> int:
    features = Path(tempfile.gettempdir()) / f"fewshot-features-{os.getuid()}"
    places = ((FEATURES, str(features)), (ROOT, str(root)))
    arguments = [_replaced(word, places) for word in request.arguments]
    with threads_of_runs(request.threads):
        process = launch(request.module, arguments, log, request.threads)
    try:
        process.join()
    finally:  # the task was cancelled: the run saves what it has
        if process.is_alive():
            process.terminate()
            process.join(GRACE_SECONDS)
            process.kill()
    assert process.exitcode is not None
    return process.exitcode


def _replaced(word: str, places: Sequence[tuple[str, str]]) -> str:
    for mark, path in places:
        if word == mark or word.startswith(f"{mark}/"):
            return path + word.removeprefix(mark)
    return word


def _left(root: Path, inputs: Sequence[str]) -> dict[str, bytes]:
    """Files of a run, but for what only continues or guards it."""
    files: dict[str, bytes] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        hidden = path.name == CHECKPOINT or path.name.startswith(".") or name == "output"
        if path.is_file() and not hidden and name not in inputs:
            files[name] = path.read_bytes()
    return files


class Kept:
    """A checkpoint in a place that outlives this machine: a folder that is shared, or an fsspec URL."""

    def __init__(self, storage: str, name: str) -> None:
        from fsspec.core import url_to_fs

        self._files, base = url_to_fs(storage)
        self._path = f"{base.rstrip('/')}/{name}"

    def fetch(self, path: Path) -> bool:
        """Bring the checkpoint here, if there is one."""
        if not self._files.exists(self._path):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._files.get_file(self._path, str(path))
        return True

    @contextlib.contextmanager
    def following(self, path: Path) -> Iterator[None]:
        """Keep what is written to `path`, until the end of the block and once more then."""
        done, state = threading.Event(), _state(path)

        def follow() -> None:
            nonlocal state
            while True:
                last = done.wait(UPLOAD_SECONDS)
                now = _state(path)
                if now is not None and now != state:
                    self.send(path)
                    state = now
                if last:
                    return

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def send(self, path: Path) -> None:
        """Keep the file as it is now; what was kept before is there until that is complete."""
        partial = f"{self._path}.{socket.gethostname()}.{os.getpid()}.partial"
        self._files.makedirs(self._path.rpartition("/")[0], exist_ok=True)
        self._files.put_file(str(path), partial)
        self._files.mv(partial, self._path)

    def remove(self) -> None:
        """Keep it no longer."""
        if self._files.exists(self._path):
            self._files.rm_file(self._path)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def look(datasets: Sequence[str], data: str) -> tuple[dict[str, str], dict[str, str]]:
    """A machine as runs will find it: versions, and the fingerprint of each dataset, or why it cannot be opened."""
    from benchmarks.running.environment import commit, versions
    from fewshot.data.catalog import open_dataset
    from fewshot.errors import InputError

    found: dict[str, str] = {}
    for name in datasets:
        try:
            found[name] = open_dataset(name, data, quiet=True).fingerprint
        except InputError as error:
            found[name] = f"error: {error}"
    return {**versions(), "commit": commit() or ""}, found
