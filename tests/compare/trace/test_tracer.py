"""The tracer's counting is compiled and run here; with CUDA's headers the whole tracer is compiled.

On a machine with a GPU, `python3 tests/compare/trace/gpu_selftest.py` checks it against known operations.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bart_bridge.errors import InputError, ToolError
from compare.trace import cupti

FOLDER = Path(cupti.__file__).parent
FEEDER = """
#include "tally.h"
static struct tally t;
int main(void)
{
    char kind[16], name[64];
    unsigned long long start, end, bytes;
    int has_bytes;
    static const char *const kinds[] = { "memset", "memcpy", "kernel", "runtime" };
    while (6 == scanf("%15s %63s %llu %llu %d %llu", kind, name, &start, &end, &has_bytes, &bytes))
        for (int i = 0; i < 4; i++)
            if (0 == strcmp(kind, kinds[i]))
                tally_add(&t, kinds[i], name, start, end, has_bytes, bytes);
    printf("bart-tf-trace\\t1\\nfact\\tdropped\\t2\\nfact\\tend\\texit\\n");
    printf("fact\\tfurther_names\\t%llu\\n", (unsigned long long)t.further);
    tally_write(stdout, &t);
    return 0;
}
"""


@pytest.fixture(scope="module")
def feeder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tally")
    (folder / "feeder.c").write_text(FEEDER)
    checked = ["-fsanitize=undefined", "-fno-sanitize-recover", "-Wall", "-Wextra", "-Werror"]
    argv = ["cc", "-std=gnu11", "-O1", *checked, f"-I{FOLDER}", str(folder / "feeder.c"), "-o", str(folder / "feeder")]
    subprocess.run(argv, check=True)
    return folder / "feeder"


def trace(feeder, folder, *processes):
    folder.mkdir()
    for pid, operations in enumerate(processes):
        text = "".join(" ".join(map(str, operation)) + "\n" for operation in operations)
        finished = subprocess.run([feeder], input=text, capture_output=True, text=True, check=True)
        (folder / f"trace-{pid}.tsv").write_text(finished.stdout)
    activities, facts = cupti.read(folder)
    return {(row.kind, row.name): row for row in activities}, facts


def test_counts_and_moments_are_exact_and_medians_close(feeder, tmp_path):
    generator = np.random.default_rng(0)
    durations = np.exp(generator.normal(9, 3, 4001)).astype(int).tolist()
    rows, facts = trace(feeder, tmp_path / "t", [("memset", "memset", 5, 5 + d, 1, 3 * d) for d in durations])
    row = rows["memset", "memset"]
    for part, values in ((row.time_ns, durations), (row.bytes, [3 * d for d in durations])):
        assert (part.count, part.total, part.minimum, part.maximum) == (4001, sum(values), min(values), max(values))
        assert part.std == pytest.approx(statistics.stdev(values), rel=1e-9)
        assert part.median == pytest.approx(statistics.median(values), rel=0.004)
    assert facts["dropped"] == "2"


def test_processes_add_up(feeder, tmp_path):
    first, second = list(range(1, 101)), list(range(1000, 1200))
    processes = [[("kernel", "k", 1, 1 + d, 0, 0) for d in values] for values in (first, second)]
    rows, facts = trace(feeder, tmp_path / "t", *processes)
    together = first + second
    row = rows["kernel", "k"]
    assert (row.count, row.time_ns.total, row.time_ns.maximum) == (300, sum(together), 1199)
    assert row.time_ns.std == pytest.approx(statistics.stdev(together))
    assert row.time_ns.median == pytest.approx(statistics.median(together), rel=0.004)
    assert (facts["dropped"], facts["processes"]) == ("4", "2")


def test_an_operation_without_a_time_counts_but_takes_none(feeder, tmp_path):
    rows, _ = trace(feeder, tmp_path / "t", [("memcpy", "HtoD", 0, 0, 1, 8), ("memcpy", "HtoD", 10, 30, 1, 8)])
    row = rows["memcpy", "HtoD"]
    assert (row.count, row.untimed, row.time_ns.count, row.time_ns.mean, row.bytes.total) == (2, 1, 1, 20, 16)


def test_memory_is_bounded_by_the_number_of_names(feeder, tmp_path):
    rows, facts = trace(feeder, tmp_path / "t", [("kernel", f"k{number}", 1, 2, 0, 0) for number in range(5000)])
    assert len(rows) <= 4096
    assert sum(row.count for row in rows.values()) == 5000
    assert rows["kernel", "(further names)"].count == int(facts["further_names"]) > 0


def test_versions_of_functions_are_left_out(feeder, tmp_path):
    rows, _ = trace(feeder, tmp_path / "t", [("runtime", "cudaLaunchKernel_v7000", 1, 2, 0, 0)])
    assert list(rows) == [("runtime", "cudaLaunchKernel")]


@pytest.mark.parametrize("content", ["", "something else\n", "bart-tf-trace\t1\nrow\tmemset\tmemset\t7\n"])
def test_a_damaged_trace_is_refused(tmp_path, content):
    (tmp_path / "trace-1.tsv").write_text(content)
    with pytest.raises(InputError, match=r"trace-1\.tsv"):
        cupti.read(tmp_path)


def test_the_newest_record_of_a_header_is_taken(tmp_path):
    header = tmp_path / "cupti_activity.h"
    names = ["Kernel", "Kernel9", "Kernel10", "Memcpy6", "MemcpyPtoP4", "Memset", "Memset4"]
    header.write_text("".join(f"}} CUpti_Activity{name};\n" for name in names))
    assert cupti.records(header)["RECORD_KERNEL"] == "CUpti_ActivityKernel10"
    header.write_text("nothing")
    with pytest.raises(ToolError, match="CUpti_ActivityKernel was not found"):
        cupti.records(header)


def test_no_cupti_is_said_in_one_line(tmp_path):
    with pytest.raises(ToolError, match=r"cupti\.h was not found"):
        cupti.find_in([tmp_path])


@pytest.fixture(scope="module")
def found():
    try:
        return cupti.find()
    except ToolError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("last_words", "returncode", "end"),
    [
        ("pass", 0, "exit"),
        ("os.abort()", -6, "signal 6"),
        # What BART does: it frees what it did not allocate, and the C library aborts.
        ("libc.free(ctypes.c_void_p(libc.calloc(1, 100) + 16))", -6, "signal 6"),
        ("os.kill(os.getpid(), 15)", -15, "signal 15"),
        ("os._exit(0)", 0, "running"),
        ("if os.fork() == 0: sys.exit(0)", 0, "exit"),
    ],
)
def test_a_trace_is_written_however_a_process_ends(found, tmp_path, last_words, returncode, end):
    """Without a GPU CUPTI has no records, but thread, handlers and file are those of a real trace."""
    library = cupti.build(found, tmp_path / "cache")
    (tmp_path / "trace").mkdir()
    start = "import ctypes, os, sys; libc = ctypes.CDLL(None); libc.calloc.restype = ctypes.c_void_p"
    code = f"{start}\nctypes.CDLL({str(library)!r}).InitializeInjection()\n{last_words}"
    environment = {**os.environ, **cupti.environment(library, tmp_path / "trace")}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert finished.returncode == returncode, finished.stderr
    _, facts = cupti.read(tmp_path / "trace")
    assert (facts["end"], facts["processes"], facts["dropped"]) == (end, "1", "0")


def test_the_tracer_compiles_once(found, tmp_path):
    library = cupti.build(found, tmp_path)
    built = library.stat().st_mtime_ns
    symbols = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True).stdout
    assert " T InitializeInjection" in symbols
    assert cupti.build(found, tmp_path) == library
    assert library.stat().st_mtime_ns == built
    assert [path.name for path in tmp_path.iterdir()] == [library.name]
