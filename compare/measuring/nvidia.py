"""What NVML (through nvidia-ml-py) tells of NVIDIA GPUs and of the processes on them.

Functions that read raise `pynvml.NVMLError` where the driver fails or the GPU does not have the quantity.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence

# NVML's name of a GPU, which only its functions understand.
Handle = object
_VISIBLE, _ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


def device_order() -> dict[str, str]:
    """Return the variable with which CUDA numbers GPUs as NVML does, unless the user has chosen another order."""
    return {_ORDER: os.environ.get(_ORDER, "PCI_BUS_ID")}


def visible(uuids: Sequence[str], chosen: str | None) -> list[int]:
    """Return the numbers of the GPUs that a CUDA program sees.

    Args:
        uuids: UUIDs of all GPUs, in the order of their numbers.
        chosen: `CUDA_VISIBLE_DEVICES`: numbers and UUIDs, or clear beginnings of such, separated by commas. As in
            CUDA, the first entry that is neither ends the list. None, and parts of a GPU (MIG), are all GPUs.
    """
    if chosen is None or "MIG-" in chosen:
        return list(range(len(uuids)))
    numbers = []
    for entry in map(str.strip, chosen.split(",")):
        fitting = [number for number, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)]
        if entry.isdecimal() and int(entry) < len(uuids):
            fitting = [int(entry)]
        if len(fitting) != 1:
            break
        numbers += fitting
    return list(dict.fromkeys(numbers))


class Gpus:
    """The NVIDIA GPUs that CUDA programs see, see `visible`; none where there is no driver.

    Attributes:
        handles: NVML's handles.
        numbers: Their numbers among all GPUs of the machine.
        reason: Why nothing can be read, empty if something can.
    """

    def __init__(self) -> None:
        import pynvml

        self.handles: list[Handle] = []
        self.numbers: list[int] = []
        self.reason = ""
        try:
            pynvml.nvmlInit()
            everything = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            self.numbers = visible([str(pynvml.nvmlDeviceGetUUID(each)) for each in everything], _chosen())
            self.handles = [everything[number] for number in self.numbers]
            self.device_bytes()
            self.reason = self._doubt(everything)
        except pynvml.NVMLError as error:
            self.reason = f"n/a: no NVIDIA GPU ({error})"
        if self.reason:
            self.handles, self.numbers = [], []

    def _doubt(self, everything: Sequence[Handle]) -> str:
        """Return why it is unknown which GPUs CUDA programs see, or why these see none; empty if all is well."""
        import pynvml

        if not everything:
            return "n/a: no NVIDIA GPU (the driver lists none)"
        if not self.handles:
            return f"n/a: no NVIDIA GPU ({_VISIBLE} is '{_chosen()}', the driver lists {len(everything)})"
        by_number = any(entry.strip().isdecimal() for entry in (_chosen() or "").split(","))
        models = {str(pynvml.nvmlDeviceGetName(each)) for each in everything}
        if by_number and len(models) > 1 and device_order()[_ORDER] != "PCI_BUS_ID":
            return f"n/a: {_ORDER} must be PCI_BUS_ID where {_VISIBLE} numbers GPUs of several models"
        return ""

    def names(self) -> list[str]:
        """Name the GPUs."""
        import pynvml

        return [str(pynvml.nvmlDeviceGetName(handle)) for handle in self.handles]

    def driver(self) -> str:
        """Return the driver's version, empty without GPUs."""
        import pynvml

        return str(pynvml.nvmlSystemGetDriverVersion()) if self.handles else ""

    def device_bytes(self) -> int:
        """Return the memory in use on these GPUs, whoever uses it."""
        return sum(map(memory_used_bytes, self.handles))

    def process_bytes(self, pids: Collection[int]) -> tuple[int | None, list[Handle]]:
        """Return the memory of some processes on these GPUs, None if NVML reports none, and which they use.

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


def _chosen() -> str | None:
    return os.environ.get(_VISIBLE)


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
