"""Which BARTs computed the results of an experiment: version, build and BLAS, which decide their speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bart_bridge.baselines import BASELINES
from compare.results.table_files import NOT_AVAILABLE
from compare.settings.engine_names import is_bart

if TYPE_CHECKING:
    import pandas

_UNKNOWN = f"{NOT_AVAILABLE}: not in the results"


def barts(results: pandas.DataFrame, flags: bool = True) -> list[str]:
    """Name the BART of each engine and baseline, a line for each BART.

    For example `bart-0.9: BART 0.9.00, reference BLAS 3.12.1, built with CUDA=0, OMP=1`.

    Args:
        results: The results table.
        flags: Whether the build flags are named too (default).
    """
    engines: dict[str, list[str]] = {}
    columns = ["engine", "engine_version", "engine_build", "engine_blas"]
    for engine, version, build, blas in results[columns].drop_duplicates().itertuples(index=False, name=None):
        if not version or not (is_bart(engine) or engine in BASELINES):
            continue
        # The version of a baseline names the tool, too: `bart pics 0.9.00`.
        blas = blas or _UNKNOWN
        text = f"BART {version.rpartition(' ')[2]}, {f'BLAS {blas}' if blas.startswith(NOT_AVAILABLE) else blas}"
        if flags:
            text += f", built with {build or _UNKNOWN}"
        engines.setdefault(text, []).append(engine)
    return [f"{', '.join(names)}: {text}" for text, names in engines.items()]
