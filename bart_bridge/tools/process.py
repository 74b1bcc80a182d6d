"""Run a child process: stream its output, bound its time, end it with us, and read what it used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from bart_bridge.errors import InputError, ToolError

_LAUNCHER = Path(__file__).with_name("_launcher.py")
_TAIL_LINES = 200
_SIGNAL_NAMES = {number.value: number.name for number in signal.Signals}
_Wrapper = tuple[tuple[str, ...], Mapping[str, str]]
_wrapper: ContextVar[_Wrapper] = ContextVar("wrapper", default=((), {}))
_kept: ContextVar[tuple[int, ...]] = ContextVar("kept", default=())
_running: set[int] = set()


@dataclass(frozen=True)
class Finished:
    """What a child process left behind.

    Attributes:
        returncode: Exit code; negative for the number of the signal that ended it.
        elapsed_s: Wall seconds from its start to its end.
        cpu_s: User and system seconds of it and of the children it waited for.
        peak_rss_bytes: Largest resident set of it or of any child it waited for; at least the launcher's 10 MiB.
        least_rss_bytes: The launcher's own peak: a `peak_rss_bytes` that is not larger says only that it was not more.
        stdout: Its last 200 lines of standard output.
        stderr: Its last 200 lines of standard error.
    """

    returncode: int
    elapsed_s: float
    cpu_s: float
    peak_rss_bytes: int
    least_rss_bytes: int
    stdout: tuple[str, ...]
    stderr: tuple[str, ...]

    @property
    def crashed(self) -> bool:
        """Whether a signal ended it."""
        return self.returncode < 0

    @property
    def signal_number(self) -> int | None:
        """The signal that ended it, or a program that it ran: a shell returns 128 + the number. None if none did."""
        number = -self.returncode if self.crashed else self.returncode - 128
        return number if number in _SIGNAL_NAMES else None

    def describe(self) -> str:
        """Say how it ended: `exited with code 1`, `was ended by SIGABRT`, `exited with code 134 (SIGABRT)`."""
        name = _SIGNAL_NAMES.get(self.signal_number or 0)
        if self.crashed:
            return f"was ended by {name or f'signal {-self.returncode}'}"
        return f"exited with code {self.returncode}" + (f" ({name})" if name else "")


@contextmanager
def under(prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Put a tool such as a tracer before every command that `run` starts within the `with` block.

    Args:
        prefix: The tool and its arguments.
        environment: Variables set for it, on top of those of the command.
    """
    token = _wrapper.set((tuple(prefix), environment or {}))
    try:
        yield
    finally:
        _wrapper.reset(token)


@contextmanager
def keeping_open(descriptors: Sequence[int]) -> Iterator[None]:
    """Let files, such as those of locks, be open until every command that `run` starts within the block has ended.

    That is so even when this process is killed: the process that watches the command has them open, too.
    """
    token = _kept.set((*_kept.get(), *descriptors))
    try:
        yield
    finally:
        _kept.reset(token)


def end_running(grace_s: float) -> None:
    """Send SIGTERM to the commands that run now, and wait until they have ended, so that they can leave a checkpoint.

    It may be called by a signal handler in the middle of `run`. Commands that do not end in `grace_s` seconds go on.
    """
    found = []
    for pid in tuple(_running):
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            found.append(psutil.Process(pid))
            os.killpg(pid, signal.SIGTERM)
    psutil.wait_procs(found, timeout=grace_s)


def run(
    argv: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    on_line: Callable[[str], bool | None] | None = None,
    on_start: Callable[[int], None] | None = None,
) -> Finished:
    """Run a command to its end, whatever its exit code.

    The child and its group are ended when this call is interrupted (Ctrl-C) and also when this process is killed.

    Args:
        argv: The program and its arguments; no shell sees them.
        folder: Working directory of the child.
        environment: Variables set on top of this process's.
        timeout_s: Wall seconds after which the child is ended; unlimited by default.
        on_line: Called with each line of either stream as it comes; a carriage return ends a line too. Where it returns
            True, the child is ended.
        on_start: Called with the child's process id.

    Raises:
        ToolError: The program cannot be started, or ran into its time limit.
        InputError: The folder does not exist.
        Exception: What `on_line` raised first; the child is not disturbed by it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder to run {argv[0]} in")
    prefix, wrapper_environment = _wrapper.get()
    report_read, report_write = os.pipe()
    descriptors = [report_write, *_kept.get()]
    launcher = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER), ",".join(map(str, descriptors)), *prefix, *argv],
        cwd=folder,
        env={**os.environ, **(environment or {}), **wrapper_environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=descriptors,
        start_new_session=True,
    )
    os.close(report_write)
    stdout: deque[str] = deque(maxlen=_TAIL_LINES)
    stderr: deque[str] = deque(maxlen=_TAIL_LINES)
    errors: list[Exception] = []
    stdin = launcher.stdin
    assert stdin is not None
    # Closing the launcher's standard input ends the child; the report then comes as always.
    streams = ((launcher.stdout, stdout), (launcher.stderr, stderr))
    readers = [_reader(stream, tail, on_line, stdin.close, errors) for stream, tail in streams]
    timed_out = threading.Event()

    def time_out() -> None:
        # Set before the child ends: whether this thread still runs when the report has come says nothing.
        timed_out.set()
        stdin.close()

    timer = threading.Timer(timeout_s, time_out) if timeout_s else None
    pid = ""
    try:
        with os.fdopen(report_read) as report:
            pid = report.readline()
            if pid:
                _running.add(int(pid))
                if on_start:
                    on_start(int(pid))
            if timer:
                timer.start()
            usage = report.readline().split()
            if pid and not usage:  # the launcher was killed: nobody else ends what it watched
                with suppress(ProcessLookupError):
                    os.killpg(int(pid), signal.SIGKILL)
    finally:
        if timer:  # also when interrupted: the interpreter would wait for it before it ends
            timer.cancel()
        if pid:
            _running.discard(int(pid))
        stdin.close()
        for reader in readers:
            reader.join()
        launcher.wait()
        for stream in (launcher.stdout, launcher.stderr):
            assert stream is not None
            stream.close()
    if not pid:
        raise ToolError("cannot be started", argv, stderr_tail=_last(stderr, 1))
    if not usage:
        raise ToolError("the process that watched it was killed", argv)
    if errors:
        raise errors[0]
    if timed_out.is_set():
        raise ToolError(f"did not end within {timeout_s:g} s", argv, stderr_tail=_last(stderr, 3))
    code, elapsed_s, cpu_s, peak_bytes, least_bytes = usage
    return Finished(
        int(code), float(elapsed_s), float(cpu_s), int(peak_bytes), int(least_bytes), tuple(stdout), tuple(stderr)
    )


def _last(lines: deque[str], count: int) -> tuple[str, ...]:
    return tuple(lines)[-count:]


def _reader(
    stream: IO[str] | None,
    tail: deque[str],
    on_line: Callable[[str], bool | None] | None,
    end: Callable[[], None],
    errors: list[Exception],
) -> threading.Thread:
    assert stream is not None

    def read() -> None:
        for raw in stream:
            line = raw.rstrip()
            if line:
                tail.append(line)
                if on_line and not errors:
                    try:
                        if on_line(line):
                            end()
                    except Exception as error:  # noqa: BLE001  raised in the caller's thread; the pipe must be emptied
                        errors.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
