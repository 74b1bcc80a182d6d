"""Sample the memory of a process and its children while it runs, on the CPU and on NVIDIA GPUs."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from bart_bridge.tools import process
from compare.measuring import nvidia

# 50 samples a second. Listing the process tree costs more, so it is listed ten times a second.
INTERVAL_S = 0.02
_SAMPLES_PER_LISTING = 5
# A level lies this far below the peak and stays for this time within a tenth of that tolerance. A shorter time would
# mistake a pause of a process that is filling its memory for a level.
HELD_S = 0.3
GPU_TOLERANCE_BYTES = 32 * 2**20
RSS_TOLERANCE = 0.01

NAMES = (
    "seconds",
    "rss_bytes",
    "gpu_bytes",
    "gpu_device_bytes",
    "gpu_temperature_c",
    "gpu_power_w",
    "gpu_utilisation_percent",
)
Curve = dict[str, NDArray[np.float64]]
_NOT_READ = float("nan")


class Sampler:
    """Sample one process and its children until it ends.

    Attributes:
        gpu_note: How the GPU memory was read, or why there is none.
    """

    def __init__(self) -> None:
        self._gpus = nvidia.Gpus()
        self.gpu_note = self._gpus.reason or "n/a: NVML reported no memory for the process"
        self._before_bytes = self._gpus.device_bytes() if self._gpus.handles else 0
        self._rows: list[tuple[float, ...]] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, pid: int) -> None:
        """Start to sample a process, with the first sample at once."""
        self._thread = threading.Thread(target=self._sample, args=(pid,), daemon=True)
        self._thread.start()

    def stop(self) -> Curve:
        """Stop, and return the samples by the names of `NAMES`, with NaN for values that could not be read.

        `rss_bytes` is the resident set size of the process or, if it has children, the sum of the proportional set
        sizes. `gpu_device_bytes` is the growth of the memory in use on the visible GPUs since the sampler was made.
        """
        self._ended.set()
        if self._thread:
            self._thread.join()
        values = np.array(self._rows, np.float64).reshape(-1, len(NAMES))
        return {name: values[:, column] for column, name in enumerate(NAMES)}

    def _sample(self, pid: int) -> None:
        start_s = time.perf_counter()
        try:
            root = psutil.Process(pid)
            while True:
                if len(self._rows) % _SAMPLES_PER_LISTING == 0:
                    tree = [root, *root.children(recursive=True)]
                rss_bytes = _resident_bytes(tree)
                if rss_bytes:
                    elapsed_s = time.perf_counter() - start_s
                    self._rows.append((elapsed_s, rss_bytes, *self._gpu({process.pid for process in tree})))
                if self._ended.wait(INTERVAL_S):
                    return
        except psutil.NoSuchProcess:
            return

    def _gpu(self, pids: set[int]) -> tuple[float, ...]:
        import pynvml

        nothing = (_NOT_READ,) * 5
        if not self._gpus.handles:
            return nothing
        try:
            used_bytes, gpus = self._gpus.process_bytes(pids)
            device_bytes = self._gpus.device_bytes() - self._before_bytes
        except pynvml.NVMLError as error:
            self.gpu_note = f"n/a: NVML failed ({error})"
            return nothing
        if used_bytes is not None:
            self.gpu_note = "NVML per process and its children, sampled 50 times a second, all visible GPUs together"
        if not gpus:
            return (_NOT_READ, device_bytes, _NOT_READ, _NOT_READ, _NOT_READ)
        return (
            _NOT_READ if used_bytes is None else used_bytes,
            device_bytes,
            max(nvidia.or_nan(nvidia.temperature_c, gpu) for gpu in gpus),
            sum(nvidia.or_nan(nvidia.power_w, gpu) for gpu in gpus),
            max(nvidia.or_nan(nvidia.utilisation_percent, gpu) for gpu in gpus),
        )


# A shell that runs the command and then turns into a Python that reports its largest child. A shell is smaller than any
# command; our launcher is not, and would hide small ones.
_REPORT_LARGEST = '"$@" && exec "$0" -I -S -c "import resource as r; print(r.getrusage(r.RUSAGE_CHILDREN).ru_maxrss)"'


def high_water_bytes(argv: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int | None:
    """Return the largest resident memory of a command that may live for milliseconds, None if it fails.

    The definition is that of `Measurement.peak_rss_bytes`: the larger of two numbers. The first is the high-water mark
    of the largest single process, which the kernel reports. The second is the sum over all processes with shared pages
    counted once, sampled a thousand times a second.
    """
    together: list[int] = []
    ended = threading.Event()

    def watch(pid: int) -> None:
        while not ended.is_set():
            together.append(sum(map(_pss_bytes, _descendants(pid))))
            time.sleep(0.001)

    try:
        finished = process.run(
            ["/bin/sh", "-c", _REPORT_LARGEST, sys.executable, *argv],
            folder=folder,
            environment=environment,
            on_start=lambda pid: threading.Thread(target=watch, args=(pid,), daemon=True).start(),
        )
    finally:
        ended.set()
    if finished.returncode != 0:
        return None
    return max([int(finished.stdout[-1]) * 1024, *together])


def _descendants(pid: int) -> Iterator[int]:
    """List the descendants of a process, faster than psutil, which asks every process for its parent.

    A process is left out between fork and exec: it still has the memory of its parent, which would count twice.
    """
    with suppress(OSError):  # one of them has ended
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        children = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
        for child in map(int, chain.from_iterable(children)):
            with suppress(OSError):
                if Path(f"/proc/{child}/cmdline").read_bytes() != command:
                    yield child
            yield from _descendants(child)


def _pss_bytes(pid: int) -> int:
    """Return the resident memory of a process with shared pages divided among its users; 0 if it has ended."""
    try:
        match = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0


def level_before_growth(seconds: NDArray[np.float64], level: NDArray[np.float64], tolerance: float) -> float | None:
    """Return the highest level that was held before the peak was reached, None if there is none.

    It is a lower bound on the memory that is needed: an allocator that grows in steps grew because this was too little.

    Args:
        seconds: Time of each sample, rising.
        level: Memory of each sample, NaN if it was not read.
        tolerance: Least distance of a level from the peak. A level moves by at most a tenth of it in 0.3 s.
    """
    read = np.isfinite(level)
    seconds, level = seconds[read], level[read]
    if not len(level):
        return None
    reached = int(np.argmax(level >= level.max() - tolerance))
    seconds, level = seconds[:reached], level[:reached]
    ends = np.searchsorted(seconds, seconds + HELD_S)
    held = [
        level[first]
        for first, end in enumerate(ends)
        if end < len(level) and np.ptp(level[first : end + 1]) <= tolerance / 10
    ]
    return float(max(held)) if held else None


def _resident_bytes(tree: list[psutil.Process]) -> int:
    """Return the resident memory of the processes, with shared pages counted once."""
    if len(tree) == 1:
        return int(tree[0].memory_info().rss)
    total = 0
    for process_in_tree in tree:
        try:
            total += process_in_tree.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total
