"""Independent pieces of work on all cores, their results in order."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def mapped(work: Callable[[T], R], items: Sequence[T], least: int, chunk: int = 1) -> Iterator[Iterator[R]]:
    """`map(work, items)`, by several processes where that pays.

    Processes are forked, which costs little and needs no guard in the calling script, so only on Linux; elsewhere this
    process does it all.

    Args:
        work: a function of a module; its results are pickled.
        items: what it is called with; pickled too.
        least: fewer items are worked on here.
        chunk: items sent at a time.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1  # Linux, where processes are forked
    if cores < 2 or len(items) < max(least, 2) or multiprocessing.current_process().daemon:
        yield map(work, items)
        return
    gc.freeze()  # what is there already is shared with the processes, unless their collectors write into it
    try:
        with ProcessPoolExecutor(min(cores, len(items)), multiprocessing.get_context("fork")) as pool:
            try:
                yield pool.map(work, items, chunksize=chunk)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        gc.unfreeze()
