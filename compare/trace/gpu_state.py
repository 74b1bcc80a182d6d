"""The state of the GPUs while a run lasts, from NVML: temperature, power, utilisation, clocks and memory."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from bart_bridge.wording import counted
from compare.measuring import nvidia

_INTERVAL_S = 0.02
QUANTITIES = {
    "temperature_c": "temperature / °C",
    "power_w": "power / W",
    "utilisation_percent": "utilisation / %",
    "sm_clock_mhz": "SM clock / MHz",
    "memory_clock_mhz": "memory clock / MHz",
    "memory_used_bytes": "memory in use on the device / MiB",
}
# In the same order.
_READERS = (
    nvidia.temperature_c,
    nvidia.power_w,
    nvidia.utilisation_percent,
    nvidia.sm_clock_mhz,
    nvidia.memory_clock_mhz,
    nvidia.memory_used_bytes,
)


class GpuState:
    """Sample the first visible GPU at 50 Hz within a `with` block; its own figures change more slowly than that.

    Attributes:
        samples: One list for each sample: seconds since the start, then the quantities in the order of `QUANTITIES`.
        note: Why there are none, or how they were taken.
    """

    def __init__(self) -> None:
        self.samples: list[list[float]] = []
        self.note = "NVML, first visible GPU, sampled at 50 Hz"
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> GpuState:
        """Start sampling."""
        gpus = nvidia.Gpus()
        if gpus.handles:
            self._thread = threading.Thread(target=self._sample, args=(gpus.handles[0],), daemon=True)
            self._thread.start()
        else:
            self.note = gpus.reason
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sampling."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def summary(self) -> dict[str, object]:
        """Return mean and maximum of each quantity, the number of samples, and the note."""
        columns = list(zip(*self.samples, strict=True))[1:]
        summary: dict[str, object] = {"note": self.note, "samples": len(self.samples)}
        for name, values in zip(QUANTITIES, columns, strict=False):
            summary[name] = {"mean": sum(values) / len(values), "max": max(values)}
        return summary

    def _sample(self, gpu: nvidia.Handle) -> None:
        import pynvml

        start_s = time.perf_counter()
        while not self._ended.wait(_INTERVAL_S):
            try:
                self.samples.append([time.perf_counter() - start_s, *(read(gpu) for read in _READERS)])
            except pynvml.NVMLError as error:
                self.note = f"NVML failed after {counted(len(self.samples), 'sample')} ({error})"
                return
