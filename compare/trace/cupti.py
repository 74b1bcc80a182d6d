"""Build the tracer, a C library on CUPTI that the CUDA driver loads into every process, and read its output."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bart_bridge.errors import InputError, ToolError
from bart_bridge.files import atomic
from compare.trace.activity import Activity, Distribution

_SOURCES = (Path(__file__).with_name("tracer.c"), Path(__file__).with_name("tally.h"))
_RECORDS = {
    "RECORD_KERNEL": "CUpti_ActivityKernel",
    "RECORD_MEMCPY": "CUpti_ActivityMemcpy",
    "RECORD_MEMCPY_PEER": "CUpti_ActivityMemcpyPtoP",
    "RECORD_MEMSET": "CUpti_ActivityMemset",
}
_FIRST_LINE = "bart-tf-trace\t1"
# Keeps XLA from launching kernels as CUDA graphs: some fail under CUPTI, with CUDA_ERROR_LAUNCH_FAILED.
XLA_FLAGS = "--xla_gpu_enable_command_buffer="


@dataclass(frozen=True)
class Cupti:
    """Where CUPTI is on this machine.

    Attributes:
        includes: Folders of headers, the one with `cupti.h` first.
        library: `libcupti.so`, with or without a version.
    """

    includes: tuple[Path, ...]
    library: Path


def find() -> Cupti:
    """Find CUPTI in `CUDA_HOME`, the toolkit of `nvcc`, `/usr/local/cuda`, and the NVIDIA packages of this Python.

    Raises:
        ToolError: Its headers or its library are missing.
    """
    roots = [Path(value) for name in ("CUDA_HOME", "CUDA_PATH") if (value := os.environ.get(name))]
    if nvcc := shutil.which("nvcc"):
        roots.append(Path(nvcc).resolve().parents[1])
    roots += [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True)]
    roots += [package for folder in map(Path, sys.path) for package in sorted((folder / "nvidia").glob("cu*"))]
    return find_in(roots)


def find_in(roots: list[Path]) -> Cupti:
    """Find CUPTI below the first folder that has it; other headers of CUDA may be below any of them.

    Raises:
        ToolError: There is none.
    """
    parts = ("", "extras/CUPTI", "targets/x86_64-linux", "targets/sbsa-linux")
    folders = [root / part for root in roots for part in parts]
    includes = [folder / "include" for folder in folders if (folder / "include").is_dir()]
    headers = [include for include in includes if (include / "cupti.h").exists()]
    libraries = [
        library
        for folder in folders
        for name in ("lib64", "lib")
        for library in sorted((folder / name).glob("libcupti.so*"))
    ]
    if not headers or not libraries:
        missing = "cupti.h" if not headers else "libcupti.so"
        raise ToolError(f"{missing} was not found: the tracer needs the CUDA toolkit with CUPTI, or set CUDA_HOME")
    return Cupti((headers[0], *(include for include in includes if include != headers[0])), libraries[0])


def build(cupti: Cupti, cache: Path | None = None) -> Path:
    """Compile the tracer with the machine's `cc`, unless that was done before with the same sources and headers.

    Args:
        cupti: What `find` returned.
        cache: Folder of compiled tracers; default `bart-tf` in the user's cache folder.

    Returns:
        The library for `CUDA_INJECTION64_PATH`.

    Raises:
        ToolError: There is no compiler, or it failed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ToolError("no C compiler (cc) was found, the tracer needs one")
    command = [compiler, "-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread"]
    command += [f"-D{name}={record}" for name, record in records(cupti.includes[0] / "cupti_activity.h").items()]
    command += [f"-I{include}" for include in cupti.includes]
    command += [str(_SOURCES[0]), str(cupti.library), f"-Wl,-rpath,{cupti.library.parent}"]
    content = hashlib.sha256(" ".join(command).encode())
    for path in (*_SOURCES, cupti.library, cupti.includes[0] / "cupti_activity.h"):
        content.update(path.read_bytes())
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bart-tf"
    target = (cache or default) / f"tracer-{content.hexdigest()[:16]}.so"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.new_file(target) as built:
        finished = subprocess.run([*command, "-o", str(built)], capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            errors = [line for line in finished.stderr.splitlines() if "error" in line] or ["no message"]
            raise ToolError("the tracer does not compile", command, finished.returncode, errors[:2])
    return target


def records(header: Path) -> dict[str, str]:
    """Name the newest record types of a `cupti_activity.h`: their number grows with the version.

    Raises:
        ToolError: A type is missing.
    """
    text = header.read_text(errors="replace")
    newest = {}
    for name, record in _RECORDS.items():
        numbers = re.findall(rf"\}} {record}(\d*);", text)
        if not numbers:
            raise ToolError(f"{header}: {record} was not found in it")
        newest[name] = record + max(numbers, key=lambda number: int(number or 1))
    return newest


def environment(library: Path, folder: Path) -> dict[str, str]:
    """Return the variables that make a process, and all that it starts, write traces into a folder.

    XLA gets `XLA_FLAGS` beside those of this process.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS}".strip()
    return {"CUDA_INJECTION64_PATH": str(library), "BART_TF_TRACE_FOLDER": str(folder), "XLA_FLAGS": flags}


def read(folder: Path) -> tuple[list[Activity], dict[str, str]]:
    """Read and add up what the processes of one run wrote.

    Args:
        folder: With a `trace-PID.tsv` for each process that used CUDA.

    Returns:
        The activity by kind and name, and what is known of the trace: versions, how the processes ended, and the
        numbers of records and of dropped records.

    Raises:
        InputError: There is no trace, or a file is damaged.
    """
    files = sorted(folder.glob("trace-*.tsv"))
    if not files:
        raise InputError(f"{folder}: no trace-*.tsv, no process used CUDA under the tracer")
    rows: dict[tuple[str, str], Activity] = {}
    facts: dict[str, str] = {"tracer": "cupti", "processes": str(len(files))}
    for path in files:
        lines = path.read_text(errors="replace").splitlines()
        if not lines or lines[0] != _FIRST_LINE:
            raise InputError(f"{path}: not a trace, the first line must be 'bart-tf-trace 1'")
        for line in lines[1:]:
            word, *cells = line.split("\t")
            try:
                if word == "fact":
                    _add_fact(facts, *cells)
                else:
                    row = _row(cells)
                    before = rows.get((row.kind, row.name))
                    rows[row.kind, row.name] = before.plus(row) if before else row
            except (ValueError, TypeError):
                raise InputError(f"{path}: damaged line '{line[:80]}'") from None
    return list(rows.values()), facts


def _add_fact(facts: dict[str, str], name: str, value: str) -> None:
    """Add up counts over processes; list different values."""
    if name in {"records", "dropped", "buffers_refused", "further_names"}:
        facts[name] = str(int(facts.get(name, 0)) + int(value))
    elif name != "wall_ns" and value and value not in facts.get(name, "").split(", "):
        facts[name] = ", ".join(filter(None, [facts.get(name, ""), value]))


def _row(cells: list[str]) -> Activity:
    kind, name, count, untimed, *numbers = cells
    return Activity(kind, _plain(name), int(count), int(untimed), _values(numbers[:6]), _values(numbers[6:]))


def _values(cells: list[str]) -> Distribution:
    count, total, minimum, maximum = map(int, cells[:4])
    pairs = (pair.split(":") for pair in cells[5].split(",") if pair)
    buckets = {int(lower): int(number) for lower, number in pairs}
    return Distribution(count, total, minimum, maximum, float(cells[4]), buckets)


def _plain(name: str) -> str:
    """Drop the version from names of functions such as cudaLaunchKernel_v7000, as Nsight does."""
    return re.sub(r"^(cu\w+?)(_ptsz)?_v\d{4,5}$", r"\1", name)
