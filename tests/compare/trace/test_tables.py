import dataclasses
from pathlib import Path

import pytest

from bart_bridge.errors import InputError
from compare.trace import categories, chapter, consistency, nsys, sources, summary, tables
from compare.trace.activity import Activity, Distribution
from compare.trace.summary import Summary

FORM = Path(__file__).with_name("nsys_form")


def from_form(**facts):
    activities = nsys.read_csv(sorted((FORM / "new").glob("*.csv")))
    return Summary(activities, {"tracer": "nsys", "wall_s": 0.5} | facts)


def run(optimizer, launch_ns, repeat=0, engine="bart"):
    """A run with calls of one function, each of the given durations, and a memset for every call."""
    facts = {"network": f"v-{optimizer}", "network_kind": "varnet", "engine": engine, "optimizer": optimizer}
    times = Distribution.of(launch_ns)
    memset = Activity("memset", "memset", len(launch_ns), 0, times, Distribution.of([1000] * len(launch_ns)))
    return Summary(
        [
            Activity("runtime", "cudaLaunchKernel", len(launch_ns), 0, times),
            Activity("runtime", "cudaMalloc", 2, 0, Distribution.of([100, 200])),
            Activity("driver", "cuLaunchKernel", 1, 0, Distribution.of([50])),
            memset,
        ],
        facts | {"repeat": repeat, "wall_s": 1.0, "tracer": "cupti"},
    )


def table(made, number):
    return next(one for one in made if f"table {number})" in one.title)


def test_three_shares_that_are_not_mixed_up():
    made = tables.memory_by_time([from_form()])
    row = dict(zip(made.columns, made.rows[0], strict=True))
    assert row["operation"] == "memset"
    # 7 ms of 10 ms of memory operations, of 100 ms with the kernels, of 500 ms in all.
    assert row["of memory operations / %"] == "70.00"
    assert row["of GPU busy time / %"] == "7.00"
    assert row["of wall time / %"] == "1.40"


def test_what_is_not_known_is_not_available():
    made = tables.memory_by_time([from_form(wall_s=None)])
    assert {row[-1] for row in made.rows} == {"n/a"}
    assert {cell for row in tables.gpu_state([from_form()]).rows for cell in row[1:]} == {"n/a"}


def test_sizes_are_traffic_in_megabytes():
    made = tables.memory_by_size([from_form()])
    assert made.rows[0][1:5] == ["memset", "700", "1400.000", "2.000"]


def test_optimizers_side_by_side():
    made = tables.all_tables([run("adam", [10, 20]), run("sgd", [30, 50]), run("sgd", [1], engine="keras-jax")])
    size, mean = table(made, 7), table(made, 8)
    assert size.columns[2:] == ["adam", "sgd"]
    assert size.rows == [
        ["varnet, bart", "memset", "0.002", "0.002"],
        ["varnet, keras-jax", "memset", "n/a", "0.001"],
    ]
    assert mean.rows[0] == ["varnet, bart", "memset", "15", "40"]


def test_only_differences_beyond_the_spread_of_repeats_are_marked():
    near = [run("adam", [100], 0), run("adam", [140], 1), run("sgd", [130], 0), run("sgd", [160], 1)]
    assert table(tables.all_tables(near), 10).rows[0][-1] == "no"
    far = [*near[:2], run("sgd", [330], 0), run("sgd", [360], 1)]
    row = table(tables.all_tables(far), 10).rows[0]
    assert row[:2] == ["varnet, bart: adam against sgd", "cudaLaunchKernel"]
    assert (row[4], row[7], row[-1]) == ("120", "345", "differs")
    single = [far[0], far[2]]
    assert table(tables.all_tables(single), 10).rows[0][-1] == "n/a"


def test_functions_are_in_the_table_of_their_group():
    made = tables.all_tables([run("adam", [10]), run("sgd", [10])])
    assert [[row[1] for row in table(made, number).rows] for number in (10, 11, 12)] == [
        ["cudaLaunchKernel"],
        ["cudaMalloc"],
        ["cuLaunchKernel"],
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("void regular_fft<256u, 8u, true>(kernel_params<float, int>)", "FFT"),
        ("_ZN7cutlass6KernelI53cutlass_80_simt_cgemm_64x64_8x5EEvNT_6ParamsE", "convolution, GEMM"),
        ("_Z11kern_im2colILi3EEvPf", "convolution, GEMM"),
        ("kern_pdf_gauss(int, int, float *)", "activation"),
        ("kern_reduce_zsum(long, long)", "reduction"),
        ("input_reduce_fusion_3", "reduction"),
        ("kern_zcmpl", "copy"),
        ("loop_transpose_fusion", "copy"),
        ("kern_zfmac_strides", "element-wise"),
        ("loop_multiply_fusion_12", "element-wise"),
        ("mystery_operation", "unclassified"),
    ],
)
def test_categories(name, expected):
    assert categories.category(name) == expected


def test_the_unclassified_share_is_shown_and_shares_sum_up():
    made = tables.kernel_categories([from_form()])
    share = {row[1]: float(row[-1]) for row in made.rows}
    assert share["unclassified"] == 10.0
    assert sum(share.values()) == pytest.approx(100)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_ZN3foo3barIfEEvPT_", "foo::bar"),
        ("_Z8kern_addPf", "kern_add"),
        ("void regular_fft<256u, 8u>(x<float>)", "regular_fft"),
        ("loop_add_fusion", "loop_add_fusion"),
    ],
)
def test_readable_names(name, expected):
    assert categories.short(name) == expected


def test_a_summary_is_the_same_after_reading(tmp_path):
    before = run("adam", [10, 20, 90])
    summary.write(before, tmp_path / "s.parquet")
    after = summary.read(tmp_path / "s.parquet")
    assert after.facts == before.facts
    assert [t.rows for t in tables.all_tables([after])] == [t.rows for t in tables.all_tables([before])]
    (tmp_path / "s.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a summary"):
        summary.read(tmp_path / "s.parquet")


def test_summaries_hide_the_traces_they_were_made_of(tmp_path):
    summary.write(run("adam", [10]), tmp_path / "run" / "summary.parquet")
    (tmp_path / "run" / "trace").mkdir()
    (tmp_path / "run" / "trace" / "trace-1.tsv").write_text("bart-tf-trace\t1\n")
    assert len(sources.read(tmp_path)) == 1


def changed(made, cells):
    frame = made.frame.copy()
    for (number, heading), value in cells.items():
        frame.loc[number, heading] = value
    return dataclasses.replace(made, frame=frame)


def test_our_tables_are_consistent_and_a_fault_in_them_is_found():
    made = tables.all_tables([from_form(), run("adam", [10, 20])])
    assert consistency.check(consistency.figures_of_tables(made)) == []
    made = [
        changed(table(made, 5), {(0, "mean / ns"): 10100.0, (1, "of memory operations / %"): 29.0}),
        changed(table(made, 6), {(0, "mean / MB"): 2000.0}),
    ]
    found = {(one.check, one.row.item) for one in consistency.check(consistency.figures_of_tables(made))}
    assert found == {
        ("count x mean = total", "memset"),
        ("share = total / sum of totals", "HtoD"),
        ("shares sum to 100 %", ""),
        ("minimum <= median, mean <= maximum", "memset"),
    }


def test_tracers_that_disagree_are_shown():
    first = run("adam", [10] * 2000)
    other = Summary(first.activities, first.facts | {"tracer": "nsys"})
    assert {row[-1] for row in chapter.tracers_compared([first, other]).rows} == {"yes"}
    fewer = Summary(run("adam", [10] * 1990).activities, other.facts)
    shown = {row[1]: row[-1] for row in chapter.tracers_compared([first, fewer]).rows}
    assert (shown["memset memset"], shown["runtime cudaMalloc"]) == ("NO", "yes")
