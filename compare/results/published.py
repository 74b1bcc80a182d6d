"""The published figures, as data: CSV files under `reports/published`, each row with its source."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from bart_bridge.errors import InputError
from bart_bridge.files import cfl

if TYPE_CHECKING:
    import pandas

FOLDER = Path(__file__).resolve().parents[2] / "reports" / "published"
SOURCE = "B22, per-slice files"
# Folder and file stem of a measure to network, data, engine and a word on the variant.
_MEASURED = {
    ("Figure_04a", "bart"): ("varnet", "knee", "bart", ""),
    ("Figure_04a", "tf"): ("varnet", "knee", "tensorflow", ""),
    ("Figure_04a", "pics"): ("", "knee", "bart pics", "l1-wavelet"),
    ("Figure_04b", "bart"): ("modl", "brain", "bart", ""),
    ("Figure_04b", "tf"): ("modl", "brain", "tensorflow", ""),
    ("Figure_04b", "pics"): ("", "brain", "bart pics", ""),
    ("Figure_05", "vn_1map"): ("varnet", "knee", "bart", "one set of coil sensitivities"),
    ("Figure_05", "vn_2map"): ("varnet", "knee", "bart", "two sets of coil sensitivities"),
    ("Figure_05", "modl_1map"): ("modl", "knee", "bart", "one set of coil sensitivities"),
    ("Figure_05", "modl_2map"): ("modl", "knee", "bart", "two sets of coil sensitivities"),
    ("Figure_06", "pics_cg"): ("", "knee, radial", "bart pics", "CG-SENSE"),
    ("Figure_06", "pics_l1"): ("", "knee, radial", "bart pics", "l1-wavelet"),
    ("Figure_06", "varnet"): ("varnet", "knee, radial", "bart", ""),
    ("Figure_06", "modl1"): ("modl", "knee, radial", "bart", "first of two"),
    ("Figure_06", "modl2"): ("modl", "knee, radial", "bart", "second of two"),
}


def installed() -> bool:
    """Tell whether the published figures are here: they are part of the repository, not of the package."""
    return FOLDER.is_dir()


def read(name: str) -> pandas.DataFrame:
    """Read `memory`, `time`, `gpu_state`, `quality` or `quality_per_slice`.

    Raises:
        InputError: The file is missing or damaged.
    """
    import pandas as pd

    return pd.read_csv(io.StringIO(text(f"{name}.csv")), keep_default_na=False, na_values={"value": [""]})


def text(name: str) -> str:
    """Return what is in a file of published figures, whose checksum is in `SHA256SUMS` beside it.

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


def from_measures(folder: Path) -> pandas.DataFrame:
    """Read the per-slice files that were published, outputs of `bart measure --psnr` and `--ssim`.

    Args:
        folder: With `Figure_04a/bart_psnr.cfl` and so on.

    Returns:
        Columns figure, network, data, engine, variant, metric (`psnr_bart` in dB, `ssim_bart`), slice (from 0), value
        and source: what `quality_per_slice.csv` is.

    Raises:
        InputError: A file is missing or damaged.
    """
    import pandas as pd

    rows = []
    for (figure, stem), (network, data, engine, variant) in _MEASURED.items():
        for measure in ("psnr", "ssim"):
            for number, value in enumerate(cfl.read(folder / figure / f"{stem}_{measure}").real.ravel()):
                rows.append((figure, network, data, engine, variant, f"{measure}_bart", number, float(value), SOURCE))
    columns = ["figure", "network", "data", "engine", "variant", "metric", "slice", "value", "source"]
    return pd.DataFrame(rows, columns=columns)
