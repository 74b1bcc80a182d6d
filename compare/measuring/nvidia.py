"""What NVML (through nvidia-ml-py) tells of NVIDIA GPUs and of the processes on them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


class Gpus:
    """The NVIDIA GPUs of this machine; none where there is no driver.

    Attributes:
        handles: NVML's handles.
        reason: Why nothing can be read, empty if something can.
    """

    def __init__(self) -> None:
        import pynvml

        self.handles: list[Any] = []
        self.reason = ""
        try:
            pynvml.nvmlInit()
            self.handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            self.device_bytes()
        except pynvml.NVMLError as error:
            self.handles = []
            self.reason = f"n/a: no NVIDIA GPU ({error})"
        if not self.handles and not self.reason:
            self.reason = "n/a: no NVIDIA GPU (the driver lists none)"

    def names(self) -> list[str]:
        """Name the GPUs."""
        import pynvml

        return [str(pynvml.nvmlDeviceGetName(handle)) for handle in self.handles]

    def driver(self) -> str:
        """Return the driver's version, empty without GPUs."""
        import pynvml

        return str(pynvml.nvmlSystemGetDriverVersion()) if self.handles else ""

    def device_bytes(self) -> int:
        """Return the memory in use on all GPUs, whoever uses it."""
        import pynvml

        return sum(int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in self.handles)

    def process_bytes(self, pids: Collection[int]) -> tuple[int | None, list[Any]]:
        """Return the memory of some processes on all GPUs, None if NVML reports none, and the GPUs they are on.

        Raises:
            pynvml.NVMLError: The driver failed.
        """
        import pynvml

        used, on = [], []
        for handle in self.handles:
            entries = [entry for entry in pynvml.nvmlDeviceGetComputeRunningProcesses(handle) if entry.pid in pids]
            if entries:
                on.append(handle)
            used += [int(entry.usedGpuMemory) for entry in entries if entry.usedGpuMemory is not None]
        return (sum(used) if used else None), on


def temperature_c(handle: Any) -> float:
    """Return the temperature of a GPU, degrees Celsius."""
    import pynvml

    return _number(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))


def power_w(handle: Any) -> float:
    """Return what a GPU draws, watts."""
    import pynvml

    return _number(lambda: pynvml.nvmlDeviceGetPowerUsage(handle)) / 1000


def utilisation_percent(handle: Any) -> float:
    """Return the share of NVML's last sampling period in which a kernel ran, percent."""
    import pynvml

    return _number(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)


def _number(read: Any) -> float:
    """Read a number; NaN where this GPU does not have it."""
    import pynvml

    try:
        return float(read())
    except pynvml.NVMLError:
        return float("nan")
