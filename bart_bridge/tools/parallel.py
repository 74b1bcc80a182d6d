"""Run several commands at the same time, each from a thread of this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

from bart_bridge.tools import process

Item = TypeVar("Item")
Result = TypeVar("Result")
# Variables that set the number of threads of a BART.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def usable_threads() -> int:
    """Return OMP_NUM_THREADS if it is a positive number, otherwise the number of cores that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], at_once: int) -> Iterator[Result]:
    """Yield what `work` returns for each item, in their order.

    If this is interrupted, or the work on an item fails, the others are given up and all running commands are ended.

    Args:
        work: Runs commands, see `bart_bridge.tools.process`.
        items: What it works on, one after the other.
        at_once: Largest number of items at a time, 1 or more.

    Raises:
        Exception: The first that `work` raised, in the order of the items.
    """
    pool = ThreadPoolExecutor(at_once)
    futures: list[Future[Result]] = []
    try:
        for item in items:
            # What `process.keeping_open` and `process.prefixed` have set holds in the threads, too.
            futures.append(pool.submit(copy_context().run, work, item))
        for each in futures:
            yield each.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        # Again and again, because a thread may be about to start a command.
        while running := [each for each in futures if not each.done()]:
            process.end_running(grace_s=10)
            wait(running, timeout=0.2)
        raise
    finally:
        pool.shutdown()
