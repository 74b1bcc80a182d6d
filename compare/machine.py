"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from compare import nvidia


def describe() -> dict[str, Any]:
    """Describe hardware and system: processor, usable cores, memory, GPUs, operating system and Python."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def label(description: dict[str, Any]) -> str:
    """Return a machine in one line, as it stands in the results."""
    memory_gib = description["memory_bytes"] / 2**30
    parts = [description["processor"], f"{description['cores']} cores", f"{memory_gib:.0f} GiB", *description["gpus"]]
    return ", ".join(parts)


def gpus() -> list[str]:
    """Name the NVIDIA GPUs; empty where there is none or no driver."""
    return nvidia.Gpus().names()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
