"""Tables of numbers as CSV files that distinguish a number, NaN, an infinity, "not available" and "missing".

In the file, these are the number, `nan`, `inf` or `-inf`, `n/a`, and an empty cell. In rows to be written, None means
"not available", and a key that is not there "missing": it does not apply. A column of numbers is read as floats, with
NaN for the last three; in `results.csv`, `definition` says why a value is not available, see `is_not_available`.
Files of earlier versions have nothing where a NaN was measured.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bart_bridge.errors import InputError, why_unreadable
from bart_bridge.files import atomic

if TYPE_CHECKING:
    import pandas

NOT_AVAILABLE = "n/a"
_NO_NUMBER = [NOT_AVAILABLE, "nan", ""]


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a table: a heading, then a line for each row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: NOT_AVAILABLE if value is None else value for name, value in row.items()})
    atomic.write_text(path, text.getvalue())


def read_csv(
    path: Path, numbers: Iterable[str], counts: Iterable[str] = (), needed: Iterable[str] = ()
) -> pandas.DataFrame:
    """Read a table. The columns named as numbers become floats, all others stay text.

    Args:
        path: The file.
        numbers: Columns of numbers, of which the file need not have all.
        counts: Columns of whole numbers that every row has, where the file has the column.
        needed: Columns that the file must have.

    Raises:
        InputError: The file is missing or damaged.
    """
    import pandas as pd

    names = list(numbers)
    try:
        table: pandas.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if missing := [name for name in needed if name not in table.columns]:
            raise ValueError(f"no column {', '.join(missing)}")
        for name in table.columns.intersection(names):
            table[name] = pd.to_numeric(table[name].mask(table[name].isin(_NO_NUMBER))).astype(float)
        return table.astype(dict.fromkeys(table.columns.intersection(list(counts)), int))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({why_unreadable(error)})") from None


def is_not_available(table: pandas.DataFrame) -> pandas.Series[bool]:
    """Mark the rows of a results table that have no value: their `definition` begins with `n/a`. NaN can be a value."""
    return table.value.isna() & table.definition.str.startswith(NOT_AVAILABLE)
