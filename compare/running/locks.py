"""Locks on the folders of an experiment, so that two processes neither repeat a run nor overwrite each other's files.

A lock is an advisory lock of the kernel (flock) on a file `.lock`, taken through the library filelock. The kernel holds
the lock, not the file, which stays. It is released when the last process that has the file open exits, so a lock never
outlives its holder and needs no cleaning up. The launchers of our child processes keep the file open too: a child that
still writes after its parent was killed keeps its run locked.

For network file systems see docs/jobs.md.
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
    """Hold the lock of a folder for the `with` block; the folder is created if it is missing.

    Args:
        folder: The folder to lock.
        wait: Wait until the lock is free, however long that takes (default).

    Raises:
        BusyError: Another process holds the lock, and `wait` is false.
        ToolError: The file system does not support locks.
        OSError: The folder is not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptors: list[int] = []
    path = folder / NAME
    # A soft lock instead would outlive a holder that was killed.
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
