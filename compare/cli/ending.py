"""How Ctrl-C and SIGTERM, which Slurm and Docker send, end a command.

Both raise KeyboardInterrupt in the main thread, so that whatever runs removes what is unfinished. The command then says
so in one line, and its exit code is 128 and the number of the signal: 130 and 143.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A signal during the cleanup of an earlier one is ignored for this time; running programs are killed within 6 s.
_CLEANUP_S = 10
_SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM"}


class _Ending:
    """The signal that ends this process.

    Attributes:
        number: The first one; None while there is none.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._raised_s = float("-inf")

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if time.monotonic() - self._raised_s < _CLEANUP_S:
            return
        self.number = self.number or number
        self._raised_s = time.monotonic()
        raise KeyboardInterrupt


_ending = _Ending()


@contextmanager
def on_signals() -> Iterator[None]:
    """Let signals end the command that runs within the `with` block. What is ignored before stays ignored."""
    global _ending
    _ending = _Ending()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in _SAID if signal.getsignal(number) != signal.SIG_IGN]
    earlier = {number: signal.signal(number, _ending.interrupt) for number in numbers}
    try:
        yield
    finally:
        # A process that a signal ends is about to exit: the next one must not change its exit code.
        is_ending = _ending.number is not None
        for number, handler in earlier.items():
            signal.signal(number, signal.SIG_IGN if is_ending else handler)


def reason() -> str:
    """Return which signal ends this command, in words; `interrupted` if there was none."""
    return _SAID[signal.Signals(_ending.number or signal.SIGINT)]


def exit_code() -> int | None:
    """Return the exit code after a signal; None if there was none."""
    return None if _ending.number is None else 128 + _ending.number
