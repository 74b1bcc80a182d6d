"""Peak resident memory of this process since a moment of one's choice, from Linux."""

import ctypes
from pathlib import Path


class PeakMemory:
    """Counts from when it is made.

    Attributes:
        baseline_bytes: Resident then, after free memory was handed back to the system.
    """

    def __init__(self):
        # Memory that the C library keeps for later would hide what is allocated from now on.
        ctypes.CDLL(None).malloc_trim(0)
        self.baseline_bytes = _status_bytes("VmRSS")
        # Linux sets the peak back to what is resident now.
        Path("/proc/self/clear_refs").write_text("5")

    def above_baseline_bytes(self):
        return _status_bytes("VmHWM") - self.baseline_bytes


def _status_bytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
