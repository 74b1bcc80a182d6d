"""Nsight Systems: run a command under it, and read what it exports as SQLite or CSV, of old and new releases."""

from __future__ import annotations

import csv
import re
import shutil
import sqlite3
import subprocess
import tempfile
from array import array
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from bart_bridge.errors import InputError, ToolError
from compare.trace.activity import NOTHING, Activity, Distribution

# Commas for decimals come from some locales.
ENVIRONMENT = {"LC_ALL": "C"}
_COPY_KINDS = {1: "HtoD", 2: "DtoH", 3: "HtoA", 4: "AtoH", 5: "AtoA", 6: "AtoD", 7: "DtoA", 8: "DtoD", 9: "HtoH"}
_COPY_KINDS |= {10: "PtoP", 11: "unified HtoD", 12: "unified DtoH", 13: "unified DtoD"}
_WORDS = {"Host": "H", "Device": "D", "Array": "A", "Peer": "P"}
# A column by its words, whatever the release: "Avg (ns)" is "Average" in old ones.
_COLUMNS = {"Avg": "mean", "Average": "mean", "Med": "median", "Median": "median", "Min": "min", "Minimum": "min"}
_COLUMNS |= {"Max": "max", "Maximum": "max", "StdDev": "std", "Total": "total", "Total Time": "total"}
_COLUMNS |= dict.fromkeys(("Count", "Instances", "Num Calls", "Calls", "Operations"), "count")
_COLUMNS |= {"Time": "share", "Name": "name", "Operation": "name"}
_UNITS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9, "B": 1, "KB": 1e3, "KiB": 1024, "MB": 1e6, "MiB": 2**20, "GB": 1e9}


def unusable() -> str:
    """Say why Nsight Systems cannot be used here; empty if it makes a report of the command `true`."""
    if shutil.which("nsys") is None:
        return "nsys is not installed"
    with tempfile.TemporaryDirectory() as folder:
        argv = [*prefix(Path(folder)), "true"]
        finished = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, cwd=folder)
        if finished.returncode == 0 and _reports(Path(folder)):
            return ""
    return "nsys is installed, but makes no report here (its importer is missing or fails)"


def prefix(folder: Path) -> list[str]:
    """Return the words before a command that leave a report of it in a folder; set `ENVIRONMENT` with them."""
    options = ["--trace=cuda", "--sample=none", "--cpuctxsw=none", "--force-overwrite=true"]
    return ["nsys", "profile", *options, f"--output={folder}/report-%p"]


def read_reports(folder: Path) -> list[Activity]:
    """Export the reports that traced commands left in a folder, and add them up.

    Raises:
        ToolError: There is none, or an export failed.
    """
    reports = _reports(folder)
    if not reports:
        raise ToolError(f"{folder}: nsys left no report (.nsys-rep or .qdrep)")
    rows: dict[tuple[str, str], Activity] = {}
    for report in reports:
        target = folder / f"{report.stem}.sqlite"
        argv = ["nsys", "export", "--type=sqlite", "--force-overwrite=true", f"--output={target}", str(report)]
        finished = subprocess.run(argv, capture_output=True, text=True, check=False)
        if finished.returncode != 0 or not target.exists():
            raise ToolError("nsys export failed", argv, finished.returncode, finished.stderr.splitlines()[-2:])
        for row in read_sqlite(target):
            before = rows.get((row.kind, row.name))
            rows[row.kind, row.name] = before.plus(row) if before else row
    return list(rows.values())


def read_sqlite(path: Path) -> list[Activity]:
    """Read an SQLite export; a table that is absent was empty.

    Raises:
        InputError: It is not one.
    """
    try:
        # The `with` of a connection itself ends a transaction and closes nothing.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "StringIds" not in tables:
                raise InputError(f"{path}: not an export of Nsight Systems, there is no table StringIds")
            return [row for kind in ("KERNEL", "MEMCPY", "MEMSET", "RUNTIME") for row in _table(database, kind, tables)]
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot be read as SQLite ({error})") from None


def read_csv(paths: Iterable[Path]) -> list[Activity]:
    """Read reports of `nsys stats` as CSV: any of the summaries of kernels, memory operations (time, size) and calls.

    Raises:
        InputError: There is no such report in them, or a row does not fit its header.
    """
    rows: dict[tuple[str, str], Activity] = {}
    for path in paths:
        header: list[tuple[str, float]] | None = None
        title = ""
        # Windows releases of Nsight write a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            for cells in csv.reader(file):
                columns = _header(cells)
                if columns:
                    header, title = columns, " ".join(cells)
                elif header and len(cells) >= len(header):
                    row = _csv_row(path, cells, header, title)
                    before = rows.get((row.kind, row.name))
                    rows[row.kind, row.name] = _joined(before, row) if before else row
                elif not cells:
                    header = None
    if not rows:
        raise InputError(f"{', '.join(map(str, paths)) or 'no file'}: no report of nsys stats with rows was found")
    return list(rows.values())


def operation(text: str) -> tuple[str, str]:
    """Return kind and name of a memory operation as Nsight calls it.

    `[CUDA memcpy Host-to-Device]` and `[CUDA memcpy HtoD]` are both `("memcpy", "HtoD")`.

    Raises:
        InputError: It is no memory operation.
    """
    plain = text.strip(" []").removeprefix("CUDA ")
    unified = "unified " if plain.startswith("Unified Memory ") else ""
    plain = plain.removeprefix("Unified Memory ")
    if plain.lower().startswith("memset"):
        return "memset", "memset"
    if plain.lower().startswith("memcpy "):
        direction = plain[len("memcpy ") :]
        for word, letter in _WORDS.items():
            direction = direction.replace(word, letter)
        return "memcpy", unified + direction.replace("-", "")
    raise InputError(f"not a memory operation of Nsight Systems: '{text}'")


def _reports(folder: Path) -> list[Path]:
    return sorted(path for suffix in ("nsys-rep", "qdrep") for path in folder.glob(f"*.{suffix}"))


def _table(database: sqlite3.Connection, kind: str, tables: set[str]) -> list[Activity]:
    table = f"CUPTI_ACTIVITY_KIND_{kind}"
    if table not in tables:
        return []
    columns = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
    if kind == "KERNEL":
        # The mangled name is what the other tracer and ncu can give too; old releases do not have it.
        column = next(name for name in ("mangledName", "demangledName", "shortName") if name in columns)
        query = f"SELECT s.value, start, end, NULL FROM {table} LEFT JOIN StringIds AS s ON s.id = {column}"
    elif kind == "RUNTIME":
        query = f"SELECT s.value, start, end, NULL FROM {table} LEFT JOIN StringIds AS s ON s.id = nameId"
    else:
        name = "copyKind" if kind == "MEMCPY" else "'memset'"
        query = f"SELECT {name}, start, end, bytes FROM {table}"
    times: dict[tuple[str, str], array[int]] = defaultdict(lambda: array("q"))
    sizes: dict[tuple[str, str], array[int]] = defaultdict(lambda: array("q"))
    for name, start, end, size in database.execute(query):
        key = _key(kind, name)
        times[key].append(end - start)
        if size is not None:
            sizes[key].append(size)
    return [
        Activity(*key, len(values), 0, Distribution.of(values), Distribution.of(sizes.get(key, ())))
        for key, values in times.items()
    ]


def _key(kind: str, name: str | int | None) -> tuple[str, str]:
    if kind == "MEMCPY":
        return "memcpy", _COPY_KINDS.get(int(name or 0), "unknown")
    if kind == "MEMSET":
        return "memset", "memset"
    text = str(name or "unknown")
    return ("kernel", text) if kind == "KERNEL" else _call(text)


def _call(name: str) -> tuple[str, str]:
    """Return the kind of a function, runtime (cuda...) or driver (cu...), and its name without the version."""
    plain = re.sub(r"^(cu\w+?)(_ptsz)?_v\d{4,5}$", r"\1", name)
    return ("runtime" if plain.startswith("cuda") else "driver"), plain


def _header(cells: list[str]) -> list[tuple[str, float]]:
    """Return name and unit of each column if this is a header, else nothing. Unused columns have no name."""
    parts = [re.fullmatch(r"\s*(.*?)\s*(?:\((.*)\))?\s*", cell) for cell in cells]
    columns = [(_COLUMNS.get(part[1], ""), part[2] or "") for part in parts if part]
    if not {"name", "count", "total", "mean", "min", "max"} <= {name for name, _ in columns}:
        return []
    # Old releases name the unit of the total time only, and none for sizes, which are in KiB.
    default = next(unit for name, unit in columns if name == "total") or "KiB"
    return [(name, _UNITS.get(unit or default, 1.0)) for name, unit in columns]


def _csv_row(path: Path, cells: list[str], header: list[tuple[str, float]], title: str) -> Activity:
    # A name that was not quoted may hold commas; it is the last column.
    cells = [*cells[: len(header) - 1], ",".join(cells[len(header) - 1 :])]
    values: dict[str, float] = {}
    name = ""
    for (column, unit), cell in zip(header, cells, strict=True):
        if column == "name":
            name = cell.strip()
        elif column and column != "share" and cell.strip():
            if column == "count":
                unit = 1.0
            whole = column == "count" or (unit == 1.0 and column in {"total", "min", "max"})
            values[column] = _number(path, cell, whole) * unit
    if not {"count", "total", "mean", "min", "max"} <= values.keys():
        raise InputError(f"{path}: a row of '{name}' lacks numbers")
    count = round(values["count"])
    printed = 0.01 * values["total"] + 0.5
    if abs(count * values["mean"] - values["total"]) > printed and "Time" in title:
        raise InputError(
            f"{path}: '{name}': count {count} x mean {values['mean']:g} is not the total {values['total']:g}; if "
            "numbers have decimal commas, export again with LC_ALL=C"
        )
    squares = values.get("std", 0.0) ** 2 * max(count - 1, 0)
    part = Distribution(count, values["total"], values["min"], values["max"], squares, {}, values.get("median"))
    if "Operation" not in title.split()[-1]:
        kind, name = ("kernel", name) if "Instances" in title else _call(name)
        return Activity(kind, name, count, 0, part)
    if "Time" in title:
        return Activity(*operation(name), count, 0, part)
    return Activity(*operation(name), count, 0, NOTHING, part)


def _joined(first: Activity, second: Activity) -> Activity:
    """Put time and size of an operation together, or add up rows of one kernel with several grids."""
    if bool(first.time_ns.count) != bool(second.time_ns.count):
        time, size = (first, second) if first.time_ns.count else (second, first)
        return Activity(first.kind, first.name, first.count, 0, time.time_ns, size.bytes)
    return first.plus(second)


def _number(path: Path, text: str, whole: bool) -> float:
    """Read 12.5, 12,5 (a locale's decimal comma) and 1,234 (thousands, in whole numbers and before a point)."""
    plain = text.strip()
    if whole or "." in plain or plain.count(",") > 1:
        plain = plain.replace(",", "")
    try:
        return float(plain.replace(",", "."))
    except ValueError:
        raise InputError(f"{path}: '{text}' is not a number") from None
