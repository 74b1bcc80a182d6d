import sqlite3
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from bart_bridge.errors import InputError
from compare.trace import nsys, sources

FORM = Path(__file__).with_name("nsys_form")


def rows(folder):
    return {(row.kind, row.name): row for row in nsys.read_csv(sorted((FORM / folder).glob("*.csv")))}


def test_time_and_size_of_an_operation_are_one_row():
    memset = rows("new")["memset", "memset"]
    assert (memset.count, memset.time_ns.total, memset.time_ns.median, memset.time_ns.maximum) == (
        700,
        7e6,
        9000,
        50000,
    )
    assert memset.time_ns.std == pytest.approx(2000.5)
    assert (memset.bytes.total, memset.bytes.mean, memset.bytes.minimum) == (1.4e9, 2e6, 1000)


def test_commas_in_kernel_names_and_kinds_of_functions():
    found = rows("new")
    assert found["kernel", "void regular_fft<256u, 8u, true>(kernel_params<float, int>)"].count == 600
    assert found["runtime", "cudaLaunchKernel"].count == 1500
    assert found["driver", "cuModuleLoadData"].time_ns.mean == 120000


def test_old_and_new_releases_say_the_same():
    new, old = rows("new"), rows("old")
    for key in old:
        assert old[key].count == new[key].count
        assert old[key].time_ns.total == new[key].time_ns.total
        assert old[key].bytes.total == pytest.approx(new[key].bytes.total, rel=1e-4)
    assert old["memcpy", "HtoD"].time_ns.median is None


def test_decimal_commas():
    memset = rows("comma")["memset", "memset"]
    assert (memset.count, memset.time_ns.total, memset.time_ns.mean) == (700, 7e6, 1e4)
    assert memset.time_ns.std == pytest.approx(2000.5)


def test_decimal_commas_that_shift_columns_are_refused(tmp_path):
    path = tmp_path / "shifted.csv"
    header = "Time (%),Total Time (ns),Count,Avg (ns),Med (ns),Min (ns),Max (ns),StdDev (ns),Operation"
    path.write_text(f"{header}\n70,0,7000000,700,10000,0,9000,0,1000,50000,2000,5,[CUDA memset]\n")
    with pytest.raises(InputError, match="shifted"):
        nsys.read_csv([path])


def test_a_file_without_a_report_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no report of nsys stats"):
        nsys.read_csv([path])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[CUDA memcpy Host-to-Device]", ("memcpy", "HtoD")),
        ("[CUDA memcpy DtoD]", ("memcpy", "DtoD")),
        ("[CUDA memcpy Peer-to-Peer]", ("memcpy", "PtoP")),
        ("[CUDA Unified Memory memcpy DtoH]", ("memcpy", "unified DtoH")),
        ("[CUDA memset]", ("memset", "memset")),
    ],
)
def test_names_of_operations(text, expected):
    assert nsys.operation(text) == expected


@pytest.fixture
def export(tmp_path):
    """A small database in the form of `nsys export --type sqlite`; the table of memsets is absent, as if empty."""
    path = tmp_path / "run.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            """
            CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
            INSERT INTO StringIds VALUES (1, '_Z3addPf'), (2, 'add');
            INSERT INTO StringIds VALUES (3, 'cudaLaunchKernel_v7000'), (4, 'cuMemAlloc_v2');
            CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INT, end INT, shortName INT, mangledName INT);
            INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (100, 200, 2, 1), (300, 420, 2, 1), (500, 530, 2, 1);
            CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INT, end INT, bytes INT, copyKind INT);
            INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (0, 10, 4096, 1), (20, 50, 1024, 1), (60, 61, 8, 2);
            CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INT, end INT, nameId INT);
            INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (0, 7, 3), (10, 15, 3), (20, 90, 4);
            """
        )
    return path


def test_sqlite(export):
    found = {(row.kind, row.name): row for row in nsys.read_sqlite(export)}
    assert set(found) == {
        ("kernel", "_Z3addPf"),
        ("memcpy", "HtoD"),
        ("memcpy", "DtoH"),
        ("runtime", "cudaLaunchKernel"),
        ("driver", "cuMemAlloc_v2"),
    }
    kernel, copy = found["kernel", "_Z3addPf"], found["memcpy", "HtoD"]
    assert (kernel.count, kernel.time_ns.total, kernel.time_ns.median, kernel.time_ns.maximum) == (3, 250, 100, 120)
    assert (copy.count, copy.bytes.total, copy.time_ns.mean, copy.time_ns.std) == (2, 5120, 20, pytest.approx(200**0.5))


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be read as one" * 40])
def test_a_damaged_database_is_refused(tmp_path, content):
    path = tmp_path / "x.sqlite"
    path.write_bytes(content)
    # The error is held, and with it all that its frames hold: a file that they did not close is open still.
    with pytest.raises(InputError, match="sqlite") as error:
        sources.read(path)
    assert path not in {Path(file.path) for file in psutil.Process().open_files()}, error
