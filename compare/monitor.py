"""Measure a child process: wall and CPU seconds, peak resident memory, and GPU memory where there is an NVIDIA GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bart_bridge import process

_INTERVAL_S = 0.1


@dataclass(frozen=True)
class Measurement:
    """What one child process used.

    Attributes:
        elapsed_s: Wall seconds.
        cpu_s: User and system seconds.
        peak_rss_bytes: Largest resident set of a process.
        gpu_peak_bytes: Largest GPU memory of the process and its children, sampled at 10 Hz; None if unknown.
        gpu_note: Why `gpu_peak_bytes` is None, or how it was measured.
    """

    elapsed_s: float
    cpu_s: float
    peak_rss_bytes: int
    gpu_peak_bytes: int | None
    gpu_note: str

    def then(self, later: Measurement) -> Measurement:
        """Combine with a process that ran after this one: times add up, the larger peak counts."""
        peaks = [peak for peak in (self.gpu_peak_bytes, later.gpu_peak_bytes) if peak is not None]
        return Measurement(
            self.elapsed_s + later.elapsed_s,
            self.cpu_s + later.cpu_s,
            max(self.peak_rss_bytes, later.peak_rss_bytes),
            max(peaks) if peaks else None,
            later.gpu_note,
        )


def run(
    argv: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> tuple[process.Finished, Measurement]:
    """Run a child process to its end and measure it.

    Args:
        argv: The program and its arguments.
        folder: Working directory of the child.
        environment: Variables set on top of this process's.
        on_line: Called with each line of output as it comes.

    Raises:
        ToolError: The program cannot be started.
    """
    sampler = GpuSampler()
    try:
        finished = process.run(argv, folder=folder, environment=environment, on_line=on_line, on_start=sampler.start)
    finally:
        sampler.stop()
    return finished, Measurement(
        finished.elapsed_s, finished.cpu_s, finished.peak_rss_bytes, sampler.peak_bytes, sampler.note
    )


class GpuSampler:
    """Sample the GPU memory of a process and its children through NVML.

    Attributes:
        peak_bytes: Largest sum over all GPUs; None where it cannot be read.
        note: Why not, or how.
    """

    def __init__(self) -> None:
        self.peak_bytes: int | None = None
        self.note = "n/a: the process never started"
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, pid: int) -> None:
        """Start to sample a process."""
        import pynvml

        try:
            pynvml.nvmlInit()
            devices = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            self.note = f"n/a: no NVIDIA GPU ({error})"
            return
        self.note = "n/a: NVML reported no memory for the process"
        self._thread = threading.Thread(target=self._sample, args=(pid, devices), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop to sample."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _sample(self, pid: int, devices: list[object]) -> None:
        import pynvml

        while not self._ended.wait(_INTERVAL_S):
            try:
                pids = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
                running = [entry for device in devices for entry in pynvml.nvmlDeviceGetComputeRunningProcesses(device)]
            except psutil.NoSuchProcess:
                return
            except pynvml.NVMLError as error:
                self.note = f"n/a: NVML failed ({error})"
                return
            used = [entry.usedGpuMemory for entry in running if entry.pid in pids and entry.usedGpuMemory is not None]
            if used:
                self.peak_bytes = max(self.peak_bytes or 0, sum(used))
                self.note = "NVML per process, sampled at 10 Hz"
