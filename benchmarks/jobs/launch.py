"""A command in a process of its own, forked from a server that has imported what commands need.

It is what `python -m MODULE ARGUMENTS` does, without the seconds that its imports take. The process ends when whoever
launched it does, however that ends: with SIGTERM first, so that it saves, and for good a little later.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

COMMANDS = ("benchmarks.jobs.launch", "benchmarks.run", "benchmarks.optimize", "benchmarks.pretrain")
"""What the server imports beforehand."""
GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL."""


@contextmanager
def threads_of_runs(threads: int) -> Iterator[None]:
    """Within it, the server of this process is started for runs of so many threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        multiprocessing.set_forkserver_preload(list(COMMANDS))
        forkserver.ensure_running()
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def launch(module: str, arguments: Sequence[str], log: Path, threads: int) -> BaseProcess:
    """Start a command; the server is up, as within `threads_of_runs`.

    Args:
        module: what follows `python -m`.
        arguments: of it.
        log: gets its output, after what is there.
        threads: that it computes with.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    given = module, list(arguments), str(log), threads, environment
    process = multiprocessing.get_context("forkserver").Process(target=_become, args=given)
    process.start()
    return process


def _become(module: str, arguments: list[str], log: str, threads: int, environment: dict[str, str]) -> None:
    os.setsid()  # ctrl-C is for whoever launched it to pass on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    with open(log, "ab") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
