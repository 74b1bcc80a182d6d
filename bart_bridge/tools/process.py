"""Run a child process: follow its output, limit its time, end it together with this process, and measure its usage.

The child is started by a small launcher, see `_launcher`. It reports the child's process id and, at the end, its exit
code and usage through a pipe. Closing the launcher's standard input ends the child.
"""

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
from io import TextIOWrapper
from pathlib import Path
from typing import IO

import psutil

from bart_bridge.errors import InputError, ToolError
from bart_bridge.tools.versions import COMPATIBILITY

_LAUNCHER = Path(__file__).with_name("_launcher.py")
_TAIL_LINES = 200
_SIGNAL_NAMES = {number.value: number.name for number in signal.Signals}
OnLine = Callable[[str], bool | None]
_Wrapper = tuple[tuple[str, ...], Mapping[str, str]]
_wrapper: ContextVar[_Wrapper] = ContextVar("wrapper", default=((), {}))
_kept_open: ContextVar[tuple[int, ...]] = ContextVar("kept_open", default=())
_running: set[int] = set()


@dataclass(frozen=True)
class Finished:
    """The result of a child process.

    Attributes:
        returncode: Exit code; the negative number of a signal if one ended the process.
        elapsed_s: Wall seconds from start to end.
        cpu_s: User and system seconds of the process and of the children it waited for.
        peak_rss_bytes: Largest resident set of the process or of a child it waited for; at least the launcher's 10 MiB.
        least_rss_bytes: The launcher's own peak. A `peak_rss_bytes` that is not larger is only an upper bound.
        stdout: The last 200 lines of standard output.
        stderr: The last 200 lines of standard error.
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
        """Whether a signal ended the process."""
        return self.returncode < 0

    @property
    def signal_number(self) -> int | None:
        """The signal that ended the process, or a program that it ran (a shell returns 128 + the number), or None."""
        number = -self.returncode if self.crashed else self.returncode - 128
        return number if number in _SIGNAL_NAMES else None

    def describe(self) -> str:
        """Describe the end: `exited with code 1`, `was ended by SIGABRT`, `exited with code 134 (SIGABRT)`."""
        name = _SIGNAL_NAMES.get(self.signal_number or 0)
        if self.crashed:
            return f"was ended by {name or f'signal {-self.returncode}'}"
        return f"exited with code {self.returncode}" + (f" ({name})" if name else "")


@contextmanager
def prefixed(prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Iterator[None]:
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
    """Keep files, such as locks, open until every command that `run` starts within the `with` block has ended.

    They stay open even if this process is killed, because the launcher that watches the command has them open, too.
    """
    token = _kept_open.set((*_kept_open.get(), *descriptors))
    try:
        yield
    finally:
        _kept_open.reset(token)


def end_running(grace_s: float) -> None:
    """Send SIGTERM to all running commands and wait for their end, so that they can write a checkpoint.

    A signal handler may call this in the middle of `run`.

    Args:
        grace_s: Seconds to wait; a command that takes longer goes on.
    """
    processes = []
    for pid in tuple(_running):
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            processes.append(psutil.Process(pid))
            os.killpg(pid, signal.SIGTERM)
    psutil.wait_procs(processes, timeout=grace_s)


def run(
    argv: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    on_line: OnLine | None = None,
    on_start: Callable[[int], None] | None = None,
) -> Finished:
    """Run a command to its end, whatever its exit code.

    If this call is interrupted (Ctrl-C) or this process is killed, the child and its process group are ended.

    Args:
        argv: The program and its arguments; no shell sees them.
        folder: Working directory of the child.
        environment: Variables set on top of those of this process.
        timeout_s: Wall seconds after which the child is ended; unlimited by default.
        on_line: Called with each line of either stream as it comes; a carriage return ends a line, too. Returns True to
            end the child.
        on_start: Called with the child's process id.

    Raises:
        ToolError: The program cannot be started, or exceeds its time limit.
        InputError: The folder does not exist.
        Exception: The first exception that `on_line` raised. It is raised again after the child has ended by itself.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder to run {argv[0]} in")
    launcher, report = _launch(argv, folder, environment or {})
    child = _Child(launcher, on_line)
    try:
        with report:
            is_started, usage = _watch(report, child, timeout_s, on_start)
    finally:
        child.close()
    if not is_started:
        raise ToolError("cannot be started", argv, stderr_tail=tuple(child.stderr)[-1:])
    if not usage:
        raise ToolError("the launcher of the command was killed", argv)
    if child.errors:
        raise child.errors[0]
    if child.timed_out:
        raise ToolError(f"did not end within {timeout_s:g} s", argv, stderr_tail=tuple(child.stderr)[-3:])
    code, elapsed_s, cpu_s, peak_bytes, least_bytes = usage
    output = tuple(child.stdout), tuple(child.stderr)
    return Finished(int(code), float(elapsed_s), float(cpu_s), int(peak_bytes), int(least_bytes), *output)


def _launch(
    argv: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[subprocess.Popen[str], TextIOWrapper]:
    """Start the launcher, which starts the command; return it with the reading end of its report."""
    prefix, wrapper_environment = _wrapper.get()
    report_read, report_write = os.pipe()
    descriptors = [report_write, *_kept_open.get()]
    inherited = {name: value for name, value in os.environ.items() if name != COMPATIBILITY}
    launcher = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER), ",".join(map(str, descriptors)), *prefix, *argv],
        cwd=folder,
        env={**inherited, **environment, **wrapper_environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=descriptors,
        start_new_session=True,
    )
    os.close(report_write)
    return launcher, os.fdopen(report_read)


def _watch(
    report: TextIOWrapper, child: _Child, timeout_s: float | None, on_start: Callable[[int], None] | None
) -> tuple[bool, list[str]]:
    """Wait for the child's end; return whether it was started, and the report: exit code, seconds and bytes."""
    pid = int(report.readline() or 0)
    if not pid:
        return False, []
    _running.add(pid)
    try:
        if on_start:
            on_start(pid)
        if timeout_s:
            child.limit_time(timeout_s)
        usage = report.readline().split()
        if not usage:  # the launcher was killed, and nobody else ends the command it watched
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        return True, usage
    finally:
        _running.discard(pid)


class _Child:
    """The output and the end of a launched command.

    Attributes:
        stdout: The last lines of standard output.
        stderr: The last lines of standard error.
        errors: Exceptions that `on_line` raised, at most one for each stream.
        timed_out: Whether the time limit has ended the command.
    """

    def __init__(self, launcher: subprocess.Popen[str], on_line: OnLine | None) -> None:
        assert launcher.stdin
        assert launcher.stdout
        assert launcher.stderr
        self.stdout: deque[str] = deque(maxlen=_TAIL_LINES)
        self.stderr: deque[str] = deque(maxlen=_TAIL_LINES)
        self.errors: list[Exception] = []
        self.timed_out = False
        self._launcher, self._on_line = launcher, on_line
        self._stdin = launcher.stdin
        self._streams = (launcher.stdout, self.stdout), (launcher.stderr, self.stderr)
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in self._streams]
        for reader in self._readers:
            reader.start()
        self._timer: threading.Timer | None = None

    def limit_time(self, timeout_s: float) -> None:
        """End the command after some seconds."""
        self._timer = threading.Timer(timeout_s, self._time_out)
        self._timer.start()

    def end(self) -> None:
        """Let the launcher end the command; it still reports."""
        self._stdin.close()

    def close(self) -> None:
        """End the command if it still runs, and wait until its output is read."""
        if self._timer:  # also when interrupted: the interpreter waits for timers before it exits
            self._timer.cancel()
        self.end()
        for reader in self._readers:
            reader.join()
        self._launcher.wait()
        for stream, _ in self._streams:
            stream.close()

    def _time_out(self) -> None:
        # Set before the command ends: whether this thread still runs when the report comes proves nothing.
        self.timed_out = True
        self.end()

    def _read(self, stream: IO[str], tail: deque[str]) -> None:
        for line in map(str.rstrip, stream):
            if not line:
                continue
            tail.append(line)
            if self._on_line and not self.errors:
                try:
                    if self._on_line(line):
                        self.end()
                except Exception as error:  # noqa: BLE001  raised in the caller's thread; the pipe must be emptied
                    self.errors.append(error)
