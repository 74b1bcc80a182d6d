"""What NVML (through nvidia-ml-py) tells of NVIDIA GPUs and of the processes on them.

Functions that read raise `pynvml.NVMLError` where the driver fails or the GPU does not have the quantity.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

# NVML's name of a GPU, which only its functions understand.
Handle = object


class Gpus:
    """The NVIDIA GPUs of this machine; none where there is no driver.

    Attributes:
        handles: NVML's handles.
        reason: Why nothing can be read, empty if something can.
    """

    def __init__(self) -> None:
        import pynvml

        self.handles: list[Handle] = []
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
        return sum(map(memory_used_bytes, self.handles))

    def process_bytes(self, pids: Collection[int]) -> tuple[int | None, list[Handle]]:
        """Return the memory of some processes on all GPUs, None if NVML reports none, and the GPUs they are on.

        Raises:
            pynvml.NVMLError: The driver failed.
        """
        import pynvml

        used_bytes, gpus = [], []
        for gpu in self.handles:
            entries = [entry for entry in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu) if entry.pid in pids]
            if entries:
                gpus.append(gpu)
            used_bytes += [int(entry.usedGpuMemory) for entry in entries if entry.usedGpuMemory is not None]
        return (sum(used_bytes) if used_bytes else None), gpus


def temperature_c(gpu: Handle) -> float:
    """Return the temperature of a GPU, degrees Celsius."""
    import pynvml

    return float(pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU))


def power_w(gpu: Handle) -> float:
    """Return what a GPU draws, watts."""
    import pynvml

    return float(pynvml.nvmlDeviceGetPowerUsage(gpu)) / 1000


def utilisation_percent(gpu: Handle) -> float:
    """Return the share of NVML's last sampling period in which a kernel ran, percent."""
    import pynvml

    return float(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu)


def sm_clock_mhz(gpu: Handle) -> float:
    """Return the present clock of the multiprocessors, MHz."""
    import pynvml

    return float(pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM))


def memory_clock_mhz(gpu: Handle) -> float:
    """Return the present clock of the memory, MHz."""
    import pynvml

    return float(pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM))


def memory_used_bytes(gpu: Handle) -> int:
    """Return the memory in use on a GPU, whoever uses it."""
    import pynvml

    return int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used)


def or_nan(read: Callable[[Handle], float], gpu: Handle) -> float:
    """Read a quantity; NaN where this GPU does not have it."""
    import pynvml

    try:
        return read(gpu)
    except pynvml.NVMLError:
        return float("nan")
