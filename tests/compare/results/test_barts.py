"""Which BARTs the results are of, and results that do not say it."""

import pandas as pd
import pytest

from compare.results.barts import barts
from compare.results.table import COLUMNS, read_results

ROWS = [
    ("bart-0.8", "0.8.00", "CUDA=0, OMP=1", "reference BLAS 3.11.0"),
    ("bart-1.0", "1.0.00", "OMP=1", "OpenBLAS 0.3.34"),
    ("cg-sense", "bart pics 0.8.00", "CUDA=0, OMP=1", "reference BLAS 3.11.0"),
    ("keras-tensorflow", "2.21.0", "", ""),
    ("zero-filled", "", "", ""),
    ("bart-0.8", "0.8.00", "CUDA=0, OMP=1", "reference BLAS 3.11.0"),
]


@pytest.fixture
def results():
    return pd.DataFrame(ROWS, columns=["engine", "engine_version", "engine_build", "engine_blas"])


def test_each_bart_is_named_once_with_version_build_and_blas(results):
    assert barts(results) == [
        "bart-0.8, cg-sense: BART 0.8.00, reference BLAS 3.11.0, built with CUDA=0, OMP=1",
        "bart-1.0: BART 1.0.00, OpenBLAS 0.3.34, built with OMP=1",
    ]
    assert barts(results, flags=False)[1] == "bart-1.0: BART 1.0.00, OpenBLAS 0.3.34"


def test_results_of_two_builds(results):
    """An engine that was measured with two builds has a line for each."""
    results.loc[5, "engine_blas"] = "OpenBLAS 0.3.21"
    assert [line.split(",")[0] for line in barts(results)].count("bart-0.8: BART 0.8.00") == 1
    assert barts(results, flags=False)[-1] == "bart-0.8: BART 0.8.00, OpenBLAS 0.3.21"


def test_records_of_version_0_2_0(results):
    results.engine_blas = results.engine_blas.replace("OpenBLAS 0.3.34", "n/a: not in the record")
    assert barts(results, flags=False)[-1] == "bart-1.0: BART 1.0.00, BLAS n/a: not in the record"


@pytest.mark.parametrize("lacking", [{"threads"}, {"engine_build", "engine_blas", "threads"}])
def test_results_of_earlier_versions(results, tmp_path, lacking):
    """Their tables have no columns for the build or the threads; they are read as empty."""
    old = [name for name in COLUMNS if name not in lacking]
    row = dict.fromkeys(old, "") | {"engine": "bart", "engine_version": "0.8.00", "repeat": 0, "value": 1.0}
    pd.DataFrame([row])[old].to_csv(tmp_path / "results.csv", index=False)
    table = read_results(tmp_path)
    assert tuple(table.columns) == COLUMNS
    assert barts(table) == ["bart: BART 0.8.00, BLAS n/a: not in the results, built with n/a: not in the results"]
