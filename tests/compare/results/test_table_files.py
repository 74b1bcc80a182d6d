"""Numbers, NaN, infinities, "not available" and "missing" in the tables: written, read, and read from older files."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from bart_bridge.errors import InputError
from compare.report import exports
from compare.report.tables.measured import Column, cell
from compare.report.tables.table import printed
from compare.results import table as results
from compare.results.table_files import is_not_available, read_csv, write_csv

SAMPLES = Path(__file__).resolve().parents[3] / "reports" / "samples"
VALUES = [1.5, math.nan, math.inf, -math.inf, None, 1e-300, 1 / 3, *np.random.default_rng(0).normal(size=100)]


def result(value, **columns):
    row = dict.fromkeys(results.COLUMNS, "")
    row |= {"network": "modl", "engine": "bart", "phase": "apply", "repeat": 0, "metric": "psnr", "slice": 0}
    return row | {"value": value, "definition": "n/a: no reason" if value is None else "of the slice", **columns}


def written(folder, values, **columns):
    write_csv(folder / "results.csv", [result(value, **columns) for value in values], results.COLUMNS)
    return results.read_results(folder)


def test_every_kind_of_value_survives(tmp_path):
    table = written(tmp_path, VALUES)
    assert table.value.dtype == np.float64
    np.testing.assert_array_equal(table.value, [np.nan if value is None else value for value in VALUES])
    assert is_not_available(table).tolist() == [value is None for value in VALUES]
    cells = [
        line.split(",")[results.COLUMNS.index("value")] for line in (tmp_path / "results.csv").read_text().splitlines()
    ]
    assert cells[1:6] == ["1.5", "nan", "inf", "-inf", "n/a"]
    again = tmp_path / "again"
    again.mkdir()
    known = is_not_available(table)
    rows = [dict(row, value=None if known[n] else row["value"]) for n, row in enumerate(table.to_dict("records"))]
    write_csv(again / "results.csv", rows, results.COLUMNS)
    assert (again / "results.csv").read_bytes() == (tmp_path / "results.csv").read_bytes()


def test_parquet_has_null_for_what_is_not_available_alone(tmp_path):
    table = written(tmp_path, VALUES)
    exports.write_parquet(table, tmp_path / "results.parquet")
    column = parquet.read_table(tmp_path / "results.parquet")["value"].to_pylist()
    assert [value is None for value in column] == [value is None for value in VALUES]
    assert math.isnan(column[1])
    assert column[2:4] == [math.inf, -math.inf]


@pytest.mark.parametrize("name", ["nan", "NA", "null", "007", ""])
def test_names_that_look_like_something_else_stay_text(tmp_path, name):
    table = written(tmp_path, [1.0, None, math.nan], network=name, seed=name, unit="1")
    assert table.network.tolist() == table.seed.tolist() == [name] * 3
    assert table.unit.tolist() == ["1"] * 3


def test_what_is_missing_is_neither_nan_nor_not_available(tmp_path):
    rows = [{"name": "a", "x": 1.0, "y": math.nan}, {"name": "b", "y": None}, {"x": 2, "y": 3}]
    write_csv(tmp_path / "t.csv", rows, ["name", "x", "y"])
    assert (tmp_path / "t.csv").read_text() == "name,x,y\na,1.0,nan\nb,,n/a\n,2,3\n"
    table = read_csv(tmp_path / "t.csv", ["x", "y", "not there"])
    assert table.name.tolist() == ["a", "b", ""]
    assert table.dtypes[["x", "y"]].tolist() == [np.float64] * 2
    np.testing.assert_array_equal(table.x, [1, np.nan, 2])


@pytest.mark.parametrize("cell", ["many", "1,5", "--"])
def test_what_is_no_number_is_refused(tmp_path, cell):
    (tmp_path / "t.csv").write_text(f'x\n"{cell}"\n')
    with pytest.raises(InputError, match=r"t\.csv: cannot be read \(.*"):
        read_csv(tmp_path / "t.csv", ["x"])


def test_losses_that_are_not_finite_are_numbers(tmp_path):
    rows = [dict.fromkeys(results.HISTORY_COLUMNS, 1) | {"loss": loss} for loss in (0.5, math.inf, math.nan)]
    write_csv(tmp_path / "history.csv", rows, results.HISTORY_COLUMNS)
    history = results.read_history(tmp_path)
    np.testing.assert_array_equal(history.loss, [0.5, np.inf, np.nan])
    assert history.dtypes["epoch"] == np.int64


@pytest.mark.parametrize("name", ["modl", "varnet"])
def test_older_files_load(name, tmp_path):
    """Such as the committed ones; where a NaN was measured, they have an empty cell."""
    folder = SAMPLES / "table1" / name
    table, history = results.read_results(folder), results.read_history(folder)
    raw = pd.read_csv(folder / "results.csv", dtype=str, keep_default_na=False)
    assert is_not_available(table).tolist() == (raw.value == "n/a").tolist()
    assert table.value.notna().sum() == (raw.value != "n/a").sum()
    assert len(history)
    measured = raw.index[raw.metric == "psnr"][0]
    raw.loc[measured, "value"] = ""
    raw.to_csv(tmp_path / "results.csv", index=False)
    older = results.read_results(tmp_path)
    assert older.value.dtype == np.float64
    assert np.isnan(older.value[measured])
    assert not is_not_available(older)[measured]


def test_a_mean_is_not_that_of_the_finite_values_alone(tmp_path):
    def text(values):
        column = Column("PSNR / dB", "psnr")
        return printed(cell(written(tmp_path, values), column), column.form)

    assert text([30.0, None, 32.0]) == "31.00 ± 1.41"
    assert text([30.0, math.nan, 32.0]) == "not finite"
    assert text([None]) == "n/a"


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\x00\xff\xfe"], ids=["other columns", "no text"])
@pytest.mark.parametrize(("name", "read"), [("history", results.read_history), ("memory", results.read_memory)])
def test_a_damaged_table_is_named(name, read, content, tmp_path):
    path = tmp_path / f"{name}.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}\.csv: cannot be read \("):
        read(tmp_path)


@pytest.mark.parametrize(("name", "read"), [("history", results.read_history), ("memory", results.read_memory)])
def test_an_empty_file_is_an_empty_table(name, read, tmp_path):
    (tmp_path / f"{name}.csv").touch()
    assert read(tmp_path).empty
