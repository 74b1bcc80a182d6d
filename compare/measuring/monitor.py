"""Measure a child process: wall and CPU seconds, and its memory with the whole curve, on the CPU and on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bart_bridge.errors import ToolError
from bart_bridge.tools import process
from compare.measuring.memory_sampling import INTERVAL_S, Curve, Sampler


@dataclass(frozen=True)
class Measurement:
    """What one child process used, its own children included.

    Attributes:
        elapsed_s: Wall seconds.
        cpu_s: User and system seconds.
        peak_rss_bytes: Largest resident memory: the high-water mark of the largest process, or the largest sampled sum
            over all processes with shared pages counted once, whichever is larger. None if it is below what the
            launcher itself had, which hides it.
        gpu_peak_bytes: Largest GPU memory, sampled; None if unknown.
        gpu_note: How `gpu_peak_bytes` was measured, or why it is None.
        ending: How it ended, such as `exited with code 0` or `was ended by SIGKILL`.
        baseline_rss_bytes: Resident memory after imports and a first kernel; None if unknown.
        baseline_note: What the baseline is, or why it is None.
        allocator_peak_bytes: Peak of the device allocator by its own count; None if unknown.
        allocator_note: Which allocator it is, or why the peak is None.
        curve: All samples, see `compare.measuring.memory_sampling.Sampler.stop`.
        rss_note: Why `peak_rss_bytes` is None, unless it is below what the launcher had.
    """

    elapsed_s: float
    cpu_s: float
    peak_rss_bytes: int | None
    gpu_peak_bytes: int | None
    gpu_note: str
    ending: str = ""
    baseline_rss_bytes: int | None = None
    baseline_note: str = "n/a: not reported"
    allocator_peak_bytes: int | None = None
    allocator_note: str = "n/a: not reported"
    curve: Curve = field(default_factory=dict, repr=False, compare=False)
    rss_note: str = ""

    def without_memory(self, reason: str) -> Measurement:
        """Return the times alone, for a process that did not do the work whose memory is asked for."""
        return Measurement(
            elapsed_s=self.elapsed_s,
            cpu_s=self.cpu_s,
            peak_rss_bytes=None,
            gpu_peak_bytes=None,
            gpu_note=reason,
            ending=self.ending,
            baseline_note=reason,
            allocator_note=reason,
            rss_note=reason,
        )

    def without_main_memory(self, reason: str) -> Measurement:
        """Return times and GPU memory, for a process whose main memory holds what is not asked for."""
        curve = self.curve | {"rss_bytes": np.full_like(self.curve["rss_bytes"], np.nan)} if self.curve else {}
        return replace(
            self, peak_rss_bytes=None, rss_note=reason, baseline_rss_bytes=None, baseline_note=reason, curve=curve
        )

    def followed_by(self, later: Measurement) -> Measurement:
        """Combine with a process that ran after this one: times are added, and the larger peak is kept."""
        return Measurement(
            elapsed_s=self.elapsed_s + later.elapsed_s,
            cpu_s=self.cpu_s + later.cpu_s,
            peak_rss_bytes=_larger(self.peak_rss_bytes, later.peak_rss_bytes),
            gpu_peak_bytes=_larger(self.gpu_peak_bytes, later.gpu_peak_bytes),
            gpu_note=later.gpu_note if later.gpu_peak_bytes is not None else self.gpu_note,
            ending=later.ending,
            baseline_rss_bytes=later.baseline_rss_bytes,
            baseline_note=later.baseline_note,
            allocator_peak_bytes=_larger(self.allocator_peak_bytes, later.allocator_peak_bytes),
            allocator_note=later.allocator_note,
            curve=_joined(self.curve, later.curve, self.elapsed_s),
            rss_note=later.rss_note,
        )


class MeasuredError(ToolError):
    """The failure of a child process that was measured.

    Attributes:
        measurement: What the process used until it failed.
    """

    def __init__(self, error: ToolError, measurement: Measurement) -> None:
        BaseException.__init__(self, *error.args)
        self.argv, self.returncode, self.stderr_tail = error.argv, error.returncode, error.stderr_tail
        self.diverged_at_update = error.diverged_at_update
        self.measurement = measurement


def run(
    argv: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], bool | None] | None = None,
) -> tuple[process.Finished, Measurement]:
    """Run a child process to its end and measure it.

    Args:
        argv: The program and its arguments.
        folder: Working directory of the child.
        environment: Variables set on top of this process's.
        on_line: Called with each line of output as it comes. If it returns True, the child is terminated.

    Raises:
        ToolError: The program cannot be started.
    """
    sampler = Sampler()
    try:
        finished = process.run(argv, folder=folder, environment=environment, on_line=on_line, on_start=sampler.start)
    finally:
        curve = sampler.stop()
    peak_rss_bytes = max(finished.peak_rss_bytes, _largest(curve, "rss_bytes") or 0)
    return finished, Measurement(
        elapsed_s=finished.elapsed_s,
        cpu_s=finished.cpu_s,
        peak_rss_bytes=peak_rss_bytes if peak_rss_bytes > finished.least_rss_bytes else None,
        gpu_peak_bytes=_largest(curve, "gpu_bytes"),
        gpu_note=sampler.gpu_note,
        ending=finished.describe(),
        curve=curve,
    )


def _largest(curve: Curve, name: str) -> int | None:
    values = curve[name][np.isfinite(curve[name])]
    return int(values.max()) if len(values) else None


def _larger(first: int | None, second: int | None) -> int | None:
    values = [value for value in (first, second) if value is not None]
    return max(values) if values else None


def _joined(first: Curve, second: Curve, offset_s: float) -> Curve:
    """Append one curve to another, with a gap between them."""
    if not first or not second:
        return first or second
    gap = {name: np.array([np.nan]) for name in first} | {"seconds": np.array([max(0.0, offset_s - INTERVAL_S / 2)])}
    shifted = second | {"seconds": second["seconds"] + offset_s}
    return {name: np.concatenate([first[name], gap[name], shifted[name]]) for name in first}
