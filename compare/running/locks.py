"""Locks of an experiment's folder, so that two processes do not do a run twice or write over each other's files.

A lock is an advisory lock of the kernel (flock) on a file `.lock`, taken through the library filelock. The file stays;
it is the lock on it that counts. The kernel drops it when the last process that has the file open is gone, however it
ended, so that a lock never outlives its holder and there is nothing to clean up. The small processes that watch our
child processes keep it open too: a child that is still writing after its parent was killed keeps its run locked.

On network file systems see docs/jobs.md.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock

from bart_bridge.errors import BartTfError, ToolError
from bart_bridge.tools import process

NAME = ".lock"
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class BusyError(BartTfError):
    """Another process has the lock."""


@contextmanager
def held(folder: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is missing, for the `with` block.

    Args:
        folder: What is locked.
        wait: Wait until it is free, however long that takes.

    Raises:
        BusyError: It is not free and is not to be waited for.
        ToolError: The file system has no locks.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptors: list[int] = []
    path = folder / NAME
    # No soft lock in place of a real one: it would outlive a holder that was killed.
    lock = filelock.FileLock(path, fallback_to_soft=False, on_acquired=descriptors.append, poll_interval=0.2)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.acquire(timeout=-1 if wait else 0))
        except filelock.Timeout:
            raise BusyError(f"{folder}: another process works on it") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise ToolError(f"{path}: an experiment's folder needs locks (flock), this file system has none") from None
        stack.enter_context(process.keeping_open(descriptors))
        yield
