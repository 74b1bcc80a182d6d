"""Read, write and query the tables of an experiment.

Everything in the report is a query on `results.csv`. `history.csv` has the loss of every batch, and `memory.csv` the
samples of memory over time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.files import atomic
from bart_bridge.tools.toolbox import Toolbox
from compare.measuring import machine, memory_sampling
from compare.results import rows
from compare.results.table_files import read_csv, write_csv
from compare.settings.experiment import Experiment

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "experiment",
    "dataset",
    "engine",
    "engine_version",
    "engine_build",
    "engine_blas",
    "backend",
    "memory_plan",
    "device",
    "network",
    "optimizer",
    "seed",
    "repeat",
    "phase",
    "slice",
    "metric",
    "value",
    "unit",
    "definition",
    "machine",
    "threads",
)
# Those that results of earlier versions lack: 0.2.0 and before have neither. They are empty then.
_LATER_COLUMNS = ("engine_build", "engine_blas", "threads")
HISTORY_COLUMNS = ("network", "engine", "stage", "epoch", "batch", "seconds", "loss")
MEMORY_COLUMNS = ("network", "engine", "repeat", "phase", *memory_sampling.NAMES)


def write(experiment: Experiment, folder: Path, toolbox: Toolbox) -> None:
    """Write `results.csv`, `history.csv`, `memory.csv` and `machine.json` from the finished runs of an experiment.

    Machine and software come from the records, which may stem from several machines. `machine.json` describes the one
    with most records, and lists the others under `others`.
    """
    description = rows.machines(experiment, folder) or machine.describe() | machine.software({"bart": toolbox})
    atomic.write_text(folder / "machine.json", json.dumps(description, indent=1) + "\n")
    write_csv(folder / "results.csv", rows.result_rows(experiment, folder, toolbox), COLUMNS)
    write_csv(folder / "history.csv", rows.history_rows(experiment, folder), HISTORY_COLUMNS)
    write_csv(folder / "memory.csv", rows.memory_rows(experiment, folder), MEMORY_COLUMNS)


def read_results(folder: Path) -> pandas.DataFrame:
    """Read `results.csv`. `value` is a float, NaN if not available (see `is_not_available`), and `repeat` an int.

    Raises:
        InputError: It is missing or has other columns.
    """
    path = folder / "results.csv"
    table = read_csv(path, ["value"], ["repeat"])
    lacking = [name for name in _LATER_COLUMNS if name not in table.columns]
    if tuple(table.columns) == tuple(name for name in COLUMNS if name not in lacking):
        table = table.assign(**dict.fromkeys(lacking, ""))[list(COLUMNS)]
    if tuple(table.columns) != COLUMNS:
        raise InputError(f"{path}: columns must be {', '.join(COLUMNS)}")
    return table


def read_history(folder: Path) -> pandas.DataFrame:
    """Read the losses from `history.csv`; they may be NaN or infinite. Without the file, the table is empty.

    Raises:
        InputError: It is damaged.
    """
    counts = ["stage", "epoch", "batch"]
    return _read_or_empty(folder / "history.csv", HISTORY_COLUMNS, ["seconds", "loss"], counts, HISTORY_COLUMNS)


def read_memory(folder: Path) -> pandas.DataFrame:
    """Read the samples of every run from `memory.csv`, NaN if not sampled. Without the file, the table is empty.

    Raises:
        InputError: It is damaged.
    """
    needed = (*MEMORY_COLUMNS[:4], "seconds", "rss_bytes", "gpu_bytes")
    return _read_or_empty(folder / "memory.csv", MEMORY_COLUMNS, memory_sampling.NAMES, ["repeat"], needed)


def _read_or_empty(
    path: Path, columns: Sequence[str], numbers: Sequence[str], counts: Sequence[str], needed: Sequence[str]
) -> pandas.DataFrame:
    """Read a table as `read_csv` does; without the file, or if nothing is in it, return a table without rows."""
    import pandas as pd

    if not path.exists() or not path.read_bytes().strip():
        return pd.DataFrame(columns=list(columns))
    return read_csv(path, numbers, counts, needed)


def select(
    table: pandas.DataFrame, *, measured: bool = False, **values: str | int | Collection[str]
) -> pandas.DataFrame:
    """Return the rows of a table that have given values in some columns.

    Args:
        table: The results, or any other table with such columns.
        measured: Leave out rows without a value, be it not available or NaN.
        values: By column, for example `network="modl", metric=("psnr", "ssim")`: the value that a row must have, or
            several of which it must have one. The number of a slice is compared as text, as files have it.
    """
    chosen = table.value.notna().to_numpy() if measured else np.full(len(table), True)
    for name, value in values.items():
        column = table[name].astype(str) if name == "slice" else table[name]
        accepted = [value] if isinstance(value, str | int) else list(value)
        chosen = chosen & column.isin(accepted).to_numpy()
    return table[chosen]
