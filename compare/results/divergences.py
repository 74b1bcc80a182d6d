"""Find out from the tables of an experiment which runs diverged, and where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compare.results.table import read_history, read_results, select
from compare.results.table_files import is_not_available
from compare.running.records import DIVERGED

if TYPE_CHECKING:
    import pandas


def in_folder(folder: Path) -> dict[str, str]:
    """Read the tables of a folder, and say for each run that diverged, such as `modl on bart`, where it did.

    Raises:
        InputError: `results.csv` is missing or damaged, or `history.csv` is damaged.
    """
    return find(read_results(folder), read_history(folder))


def find(table: pandas.DataFrame, history: pandas.DataFrame) -> dict[str, str]:
    """Do the same from the results table and the losses, which may be empty.

    A training stops when it diverges, and its rows say so. In earlier versions it went on, and its losses or measures
    are not finite.
    """
    diverged = {}
    ended = select(table, metric=DIVERGED)
    for network, engine, repeat, reason in ended[["network", "engine", "repeat", "definition"]].to_numpy():
        diverged[f"{network} on {engine}" + (f", repeat {repeat}" if repeat else "")] = reason
    for key, losses in history.groupby(["network", "engine"], sort=False).loss:
        lost = ~np.isfinite(losses.to_numpy())
        if lost.any():
            update = int(lost.argmax())
            reason = f"diverged at update {update + 1}: the loss is {losses.iloc[update]}"
            diverged.setdefault(" on ".join(map(str, key)), reason)
    undefined = table[table.value.isna() & ~is_not_available(table) & (table.network != "")]
    for network, engine, metric in undefined[["network", "engine", "metric"]].to_numpy():
        diverged.setdefault(f"{network} on {engine}", f"{metric} is not a number")
    return diverged


def sentence(diverged: dict[str, str]) -> str:
    """List the runs that diverged in one line."""
    return "; ".join(f"{run}: {reason}" for run, reason in diverged.items())
