"""The published figures, as data: CSV files, each row with its source. The package brings `reports/published`."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from bart_bridge.errors import InputError

if TYPE_CHECKING:
    import pandas

FOLDER = Path(__file__).resolve().parents[1] / "builtin" / "published"


def read(name: str) -> pandas.DataFrame:
    """Read `memory`, `time`, `gpu_state`, `quality` or `quality_per_slice`.

    Raises:
        InputError: The file is missing or damaged.
    """
    import pandas as pd

    return pd.read_csv(io.StringIO(text(f"{name}.csv")), keep_default_na=False, na_values={"value": [""]})


def text(name: str) -> str:
    """Return the content of a file of published figures, after checking it against `SHA256SUMS` beside it.

    Raises:
        InputError: The file is missing or damaged.
    """
    path, sums = FOLDER / name, FOLDER / "SHA256SUMS"
    try:
        content, listed = path.read_bytes(), sums.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the published figures cannot be read ({error})") from None
    if f"{hashlib.sha256(content).hexdigest()}  {name}" not in listed:
        raise InputError(f"{path}: damaged or changed, its checksum is not in {sums}")
    return content.decode()
