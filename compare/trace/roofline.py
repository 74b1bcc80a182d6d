"""Roofline: operations and bytes of a sample of kernel launches, counted by `ncu`, against what the machine can do.

A roofline (Williams, Waterman, Patterson 2009, doi 10.1145/1498765.1498785) bounds FLOP/s by the peak rate and by the
memory's bandwidth times the arithmetic intensity, FLOP per byte of device memory.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bart_bridge.errors import InputError, ToolError
from compare.trace.summary import Summary

FILE = "ncu.csv"
CEILINGS = "ceilings.json"
Ceilings: TypeAlias = dict[str, Any]
"""What a GPU can do, see `measure_ceilings`."""
PRECISIONS = {"fp64": "d", "fp32": "f", "fp16": "h"}
_OPERATIONS = {"add": 1, "mul": 1, "fma": 2}
_TIME, _BYTES = "gpu__time_duration.sum", "dram__bytes.sum"
METRICS = [
    _TIME,
    _BYTES,
    *(f"sm__sass_thread_inst_executed_op_{p}{op}_pred_on.sum" for p in PRECISIONS.values() for op in _OPERATIONS),
]
# The second launch of a name, and two later ones: the first is often a warm-up of another size.
_LAUNCHES = "2|9|40"
_SCALES = {
    "nsecond": 1e-9,
    "ns": 1e-9,
    "usecond": 1e-6,
    "us": 1e-6,
    "msecond": 1e-3,
    "ms": 1e-3,
    "second": 1.0,
    "s": 1.0,
}
_SCALES |= {"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "inst": 1.0, "": 1.0}


@dataclass(frozen=True)
class Kernel:
    """Mean of the sampled launches of a kernel.

    Attributes:
        name: Of the kernel, mangled.
        launches: How many were sampled.
        flop: Floating-point operations by precision, without tensor cores and special functions.
        bytes: Read from and written to device memory.
        time_s: Duration.
    """

    name: str
    launches: int
    flop: dict[str, float]
    bytes: float
    time_s: float

    @property
    def intensity(self) -> float | None:
        """FLOP per byte; None if no byte was moved."""
        return sum(self.flop.values()) / self.bytes if self.bytes else None


def unusable() -> str:
    """Say why `ncu` cannot be used; empty if it is installed."""
    return "" if shutil.which("ncu") else "ncu (Nsight Compute) is not installed"


def prefix(log: Path) -> list[str]:
    """Return the words before a command that count a sample of its kernel launches into a CSV file."""
    options = ["--clock-control", "none", "--target-processes", "all", "--kernel-id", f":::{_LAUNCHES}"]
    form = ["--csv", "--page", "raw", "--print-units", "base", "--print-kernel-base", "mangled"]
    return ["ncu", *options, "--metrics", ",".join(METRICS), *form, "--log-file", str(log)]


def read(path: Path) -> list[Kernel]:
    """Read what `ncu --csv` wrote, its raw page (a column for each metric) or its details page (a row for each).

    Raises:
        InputError: It is not that, or lacks time or bytes.
    """
    text = path.read_text(errors="replace")
    lines = [line for line in text.splitlines() if line.startswith('"')]
    if not lines or '"Kernel Name"' not in lines[0]:
        raise InputError(f'{path}: no CSV of ncu in it, a header with "Kernel Name" is needed')
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    launches: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    long = "Metric Name" in rows[0] if rows else True
    units = {} if long or not rows else rows[0]
    for row in rows if long else rows[1:]:
        values = launches[row["ID"], row["Kernel Name"]]
        cells = [(row["Metric Name"], row["Metric Value"], row["Metric Unit"])] if long else []
        cells += [] if long else [(name, row[name] or "", units[name] or "") for name in row if "__" in (name or "")]
        for metric, cell, unit in cells:
            if re.fullmatch(r"[\d.,eE+-]+", cell):
                # Both prefixes occur; the sum over all multiprocessors is the same.
                values[metric.replace("smsp__", "sm__")] = float(cell.replace(",", "")) * _SCALES.get(unit, 1.0)
    kernels = list(_means(launches))
    if not kernels:
        raise InputError(f"{path}: no kernel in it with {_TIME} and {_BYTES}")
    return kernels


def _means(launches: dict[tuple[str, str], dict[str, float]]) -> Iterator[Kernel]:
    by_name: dict[str, list[dict[str, float]]] = defaultdict(list)
    for (_, name), values in launches.items():
        if _TIME in values and _BYTES in values:
            by_name[name].append(values)
    for name, sampled in by_name.items():
        flop = {
            precision: sum(
                weight * values.get(f"sm__sass_thread_inst_executed_op_{letter}{operation}_pred_on.sum", 0.0)
                for values in sampled
                for operation, weight in _OPERATIONS.items()
            )
            / len(sampled)
            for precision, letter in PRECISIONS.items()
        }
        moved, time_s = (sum(values[metric] for values in sampled) / len(sampled) for metric in (_BYTES, _TIME))
        yield Kernel(name, len(sampled), flop, moved, time_s)


def whole(kernels: list[Kernel], summary: Summary) -> tuple[Kernel | None, float]:
    """Add the sampled kernels up to the whole run, each times its number of launches in the trace.

    Returns:
        The run as if it were one kernel, None where no name of the trace was sampled, and the part of the kernel time
        of the trace that the sampled names have.
    """
    sampled = {kernel.name: kernel for kernel in kernels}
    counted = [(row, sampled[row.name]) for row in summary.of("kernel") if row.name in sampled]
    if not counted:
        return None, 0.0
    flop = {p: sum(row.count * kernel.flop[p] for row, kernel in counted) for p in PRECISIONS}
    moved = sum(row.count * kernel.bytes for row, kernel in counted)
    time_s = sum(row.time_ns.total for row, _ in counted) / 1e9
    covered = time_s * 1e9 / summary.total_ns("kernel")
    return Kernel(summary.run, sum(kernel.launches for _, kernel in counted), flop, moved, time_s), covered


def measure_ceilings() -> Ceilings:
    """Measure with our own CUDA program what the first GPU can do.

    Returns:
        `name` of the GPU, `copy_bytes_per_s` (read and written), and `fp64`, `fp32`, `fp16` in FLOP/s without tensor
        cores.

    Raises:
        ToolError: There is no `nvcc`, or the program fails.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise ToolError("nvcc was not found: the machine's ceilings are measured by a CUDA program")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "ceilings"
        source = Path(__file__).with_name("ceilings.cu")
        for argv in ([nvcc, "-O3", "-arch=native", str(source), "-o", str(program)], [str(program)]):
            finished = subprocess.run(argv, capture_output=True, text=True, check=False)
            if finished.returncode != 0:
                raise ToolError(
                    "the ceilings cannot be measured", argv, finished.returncode, finished.stderr.splitlines()[-2:]
                )
    ceilings: Ceilings = json.loads(finished.stdout)
    return ceilings
