"""Which BLAS a BART computes with. It decides much of its speed, and BART itself does not say.

Debian and Ubuntu replace the library behind the same name, so neither the binary nor its build flags tell. A running
BART does: the system lists the files that it has in memory.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from bart_bridge.errors import ToolError
from bart_bridge.tools import process
from bart_bridge.tools.toolbox import Toolbox

REFERENCE = "reference BLAS"
OPENBLAS = "OpenBLAS"
# Names of libraries, the first that matches decides: a BLAS may come with a small library of the generic name.
_LIBRARIES = (
    (OPENBLAS, re.compile(r"libopenblas\w*(?:-r(?P<version>[\d.]+\d))?[-.\w]*\.so")),
    ("MKL", re.compile(r"libmkl_|.*_mkl\.so")),
    ("BLIS", re.compile(r"libblis\w*\.so(?:\.(?P<version>[\d.]+\d))?")),
    ("ATLAS", re.compile(r"lib[st]?atlas\.so|libf77blas\.so")),
    ("FlexiBLAS", re.compile(r"libflexiblas\.so(?:\.(?P<version>[\d.]+\d))?")),
    (REFERENCE, re.compile(r"libblas\.so(?:\.(?P<version>[\d.]+\d))?")),
)
_LIMIT_S = 60
_SLOW = (
    "this is a slow build: compare times with one on OpenBLAS "
    "(Debian and Ubuntu: apt-get install libopenblas0-pthread, or make barts)"
)


def blas_of(toolbox: Toolbox) -> str:
    """Return the BLAS of a BART, such as `OpenBLAS 0.3.21` or `reference BLAS 3.11.0`; `n/a` and the reason if unknown.

    One that says it itself, among its build flags, is believed. The answer is kept as long as this process lives.
    """
    return toolbox.build_flags.get("BLAS") or _blas_in_memory(toolbox.path)


@cache
def _blas_in_memory(binary: Path) -> str:
    try:
        return library(path.name for path in _mapped_files(binary))
    except (ToolError, OSError) as error:
        return f"n/a: {error}"


def is_reference(blas: str) -> bool:
    """Return whether a BLAS is the reference implementation, which is the slowest of all."""
    return blas.startswith(REFERENCE)


def slow_build(toolbox: Toolbox) -> str:
    """Say that a BART is a slow build and what to do, if it computes with the reference BLAS; otherwise nothing.

    How much slower: docs/speed-and-memory.md, Which BART is the fastest.
    """
    return _SLOW if is_reference(blas_of(toolbox)) else ""


def library(names: Iterable[str]) -> str:
    """Return the BLAS among the names of the shared libraries of a process."""
    available = sorted(names)
    for blas, pattern in _LIBRARIES:
        for name in available:
            if match := pattern.match(name):
                return f"{blas} {match.groupdict().get('version') or ''}".rstrip()
    return "n/a: no shared library of it is a known BLAS"


def _mapped_files(binary: Path) -> set[Path]:
    """Return the files in memory of a BART that waits for its input.

    Raises:
        ToolError: It does not read its input.
    """
    found: set[Path] = set()
    with tempfile.TemporaryDirectory(prefix="bart-") as name:
        pipe = Path(name) / "input.hdr"
        os.mkfifo(pipe)

        def look(pid: int) -> None:
            # The pipe can be opened once BART waits at its other end. All libraries are in memory then.
            end = _open_when_read(pipe, pid)
            if end is None:
                return
            try:
                found.update(path for each in _tree(pid) for path in _files(each))
                # BART 0.8 and 0.9 would abort at the empty input, and the system keep its memory as a core dump.
                for each in _tree(pid):
                    each.kill()
            except psutil.NoSuchProcess:
                pass
            finally:
                os.close(end)

        finished = process.run([str(binary), "show", "input"], folder=Path(name), timeout_s=_LIMIT_S, on_start=look)
    if not found:
        raise ToolError(f"bart show {finished.describe()} without reading its input, so its libraries are not known")
    return found


def _open_when_read(pipe: Path, pid: int) -> int | None:
    """Open a named pipe for writing as soon as a process reads it; None if the process ends before."""
    deadline = time.monotonic() + _LIMIT_S
    while time.monotonic() < deadline and psutil.pid_exists(pid):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        time.sleep(0.002)
    return None


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _files(each: psutil.Process) -> Iterator[Path]:
    with suppress(OSError):
        for line in Path(f"/proc/{each.pid}/maps").read_text().splitlines():
            _, _, path = line.partition("/")
            if path:
                yield Path(f"/{path}")
