"""The machine and the software that numbers were measured with."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import bart_bridge
from bart_bridge.errors import ToolError
from bart_bridge.tools import process
from bart_bridge.tools.blas import blas_of
from bart_bridge.tools.toolbox import Toolbox
from bart_bridge.wording import counted
from compare.measuring import nvidia

# What is written as JSON beside results.
Description = dict[str, Any]
_PACKAGES = ("tensorflow", "keras", "jax", "torch", "numpy", "scipy", "scikit-image", "pandas", "nvidia-ml-py")
# Those that bring CUDA, each for the package that needs it; one of several is enough.
_CUDA_PACKAGES = {
    "tensorflow": ("nvidia-cudnn-cu12",),
    "jax": ("jax-cuda12-plugin", "jax-cuda13-plugin"),
}


def describe() -> Description:
    """Describe hardware and system: processor, usable cores, memory, GPUs, operating system and Python."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus(),
        "gpu_driver": nvidia.Gpus().driver(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def software(toolboxes: Mapping[str, Toolbox]) -> Description:
    """Describe the software: packages, each engine's BART with its build flags and BLAS, and the commit of bart-tf."""
    names = [*_PACKAGES, *(name for group in _CUDA_PACKAGES.values() for name in group)]
    return {
        "packages": {name: installed for name in names if (installed := package_version(name))},
        "bart": {
            name: {
                "path": str(bart.path),
                "version": bart.version_text,
                "build": bart.build_flags,
                "blas": blas_of(bart),
            }
            for name, bart in toolboxes.items()
        },
        "bart_tf": bart_bridge.__version__,
        "commit": _commit(),
    }


def built(description: Description, engine: str) -> tuple[str, str]:
    """Return the build flags and the BLAS of an engine's BART, as `software` describes it; two empty texts without one.

    A record of version 0.2.0 or before does not name the BLAS.
    """
    bart = description.get("bart", {}).get(engine)
    if not bart:
        return "", ""
    flags = ", ".join(f"{flag}={value}" for flag, value in bart.get("build", {}).items())
    return flags, bart.get("blas", "n/a: not in the record")


def label(description: Description) -> str:
    """Describe a machine in one line, as in the results."""
    memory_gib = description["memory_bytes"] / 2**30
    parts = [
        description["processor"],
        counted(description["cores"], "core"),
        f"{memory_gib:.0f} GiB",
        *description["gpus"],
    ]
    return ", ".join(parts)


def gpus() -> list[str]:
    """Name the NVIDIA GPUs that CUDA programs see; empty where there is none or no driver."""
    return nvidia.Gpus().names()


def package_version(package: str) -> str | None:
    """Return the version of an installed package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def missing_for_gpu(toolboxes: Iterable[Toolbox]) -> list[str]:
    """Say what a machine with an NVIDIA GPU lacks for a comparison on it, a line each.

    Args:
        toolboxes: The BARTs of this machine.
    """
    missing = []
    for package, brought_by in _CUDA_PACKAGES.items():
        if package_version(package) is None:
            missing.append(f"{package} is not installed")
        elif not any(map(package_version, brought_by)):
            missing.append(f"{package} has no CUDA from pip ({' or '.join(brought_by)} is not installed)")
    if not any(toolbox.has_cuda for toolbox in toolboxes):
        missing.append("no BART is built with CUDA")
    return missing


def _commit() -> str:
    """Return the git commit of this code, with `-dirty` if it has changes, or `n/a` with the reason."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "n/a: not run from a git checkout"
    try:
        described = process.run(["git", "describe", "--always", "--dirty", "--abbrev=40"], folder=root, timeout_s=20)
    except ToolError as error:
        return f"n/a: {error}"
    return described.stdout[0] if described.returncode == 0 else f"n/a: git {described.describe()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
