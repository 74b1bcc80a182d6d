"""The published figures, as data: CSV files, each row with its source. The package brings `reports/published`."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from bart_bridge.errors import InputError, why_unreadable
from compare.results import statistics
from compare.results.table import select

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
        raise InputError(f"{path}: the published figures cannot be read ({why_unreadable(error)})") from None
    if f"{hashlib.sha256(content).hexdigest()}  {name}" not in listed:
        raise InputError(f"{path}: damaged or changed, its checksum is not in {sums}")
    return content.decode()


def psnr_difference(kind: str) -> statistics.Difference:
    """Return the PSNR in dB of TensorFlow less that of BART, of the published slices of a network.

    Args:
        kind: `varnet` or `modl`.

    Raises:
        InputError: The file is missing or damaged.
    """
    figure = {"varnet": "Figure_04a", "modl": "Figure_04b"}[kind]
    psnr = select(read("quality_per_slice"), figure=figure, metric="psnr_bart")
    psnr = psnr.pivot_table(index="slice", columns="engine", values="value")
    return statistics.paired(psnr["tensorflow"].to_numpy(), psnr["bart"].to_numpy())


def training_gb(kind: str, family: str) -> list[float]:
    """Return the published GPU memory of a training in GB, by GPU.

    Args:
        kind: `varnet` or `modl`.
        family: `bart` or `tensorflow`.

    Raises:
        InputError: The file is missing or damaged.
    """
    return list(select(read("memory"), network=kind, engine=family, phase="train").main_gb)


def slice_ms(kind: str, family: str) -> list[float]:
    """Return the published times of reconstructing a slice in ms; arguments as for `training_gb`."""
    return list(select(read("time"), network=kind, engine=family, phase="infer").value)
