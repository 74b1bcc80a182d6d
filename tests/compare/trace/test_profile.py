"""The command, and the parts of it that need no GPU."""

import os
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from bart_bridge.errors import InputError, ToolError
from bart_bridge.tools import process
from compare.console import Reporter
from compare.measuring import machine
from compare.report import experiment_report
from compare.running.steps import Step
from compare.trace import chapter, profiler, roofline, summary
from compare.trace.activity import Activity, Distribution
from compare.trace.summary import Summary
from tests.compare.conftest import TINY, bart_tf

FORM = Path(__file__).with_name("nsys_form")
NCU_LONG = """==PROF== Connected to process 7
"ID","Process ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","7","_Z3addPf","dram__bytes.sum","byte","4,000"
"0","7","_Z3addPf","gpu__time_duration.sum","nsecond","2,000"
"0","7","_Z3addPf","smsp__sass_thread_inst_executed_op_fadd_pred_on.sum","inst","100"
"0","7","_Z3addPf","smsp__sass_thread_inst_executed_op_ffma_pred_on.sum","inst","450"
"1","7","_Z3addPf","dram__bytes.sum","byte","2,000"
"1","7","_Z3addPf","gpu__time_duration.sum","nsecond","1,000"
"1","7","_Z3addPf","smsp__sass_thread_inst_executed_op_fadd_pred_on.sum","inst","n/a"
"""
NCU_RAW = """==PROF== Connected to process 7
"ID","Kernel Name","dram__bytes.sum","gpu__time_duration.sum","sm__sass_thread_inst_executed_op_dfma_pred_on.sum"
"","","byte","ns","inst"
"0","_Z3addPf","4000","2000","10"
"1","_Z4copyPf","8000","4000","0"
"""


def test_a_saved_export_makes_every_table(tmp_path):
    finished = bart_tf("profile", "--from", FORM / "new", "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    page = (tmp_path / "out" / "tables.md").read_text()
    assert "CUDA memory operations by time (thesis, table 5)" in page
    assert "nothing: every check holds" in page
    assert "58.81 %" in page
    again = bart_tf("profile", "--from", tmp_path / "out", "-o", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "tables.md").read_text() == page


@pytest.mark.skipif(bool(machine.gpus()), reason="there is a GPU")
def test_without_a_gpu_the_command_says_so_in_one_line(tmp_path):
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(TINY) | {"device": "gpu"}))
    finished = bart_tf("profile", config, "-o", tmp_path / "out")
    assert finished.returncode == 1
    assert finished.stderr.strip().count("\n") == 0
    assert "error: no NVIDIA GPU was found" in finished.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name an experiment to trace, or --from"),
        (["--from", "nowhere.sqlite"], "no such file"),
        (["--from", "README.md"], "must be a .parquet, .sqlite or .csv file"),
        (["configs/demo.yaml", "--engine", "matlab"], "no engine 'matlab' (found: bart, keras-tensorflow)"),
        (["configs/demo.yaml", "--from", "README.md"], "name no experiment and no --engine"),
    ],
)
def test_wrong_input(arguments, message, tmp_path):
    root = Path(__file__).resolve().parents[3]
    finished = bart_tf("profile", *arguments, "-o", tmp_path / "out", cwd=root)
    assert finished.returncode == 2
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_tool_goes_before_every_command_within_the_block(tmp_path):
    with process.prefixed(["env", "SEEN=prefix"], {"ALSO": "environment"}):
        argv = ["sh", "-c", "echo $SEEN $ALSO $OWN"]
        inside = process.run(argv, folder=tmp_path, environment={"OWN": "command"})
    outside = process.run(["sh", "-c", "echo [$SEEN]"], folder=tmp_path)
    assert inside.stdout == ("prefix environment command",)
    assert outside.stdout == (f"[{os.environ.get('SEEN', '')}]",)


def counted(path, text):
    path.write_text(text)
    return {kernel.name: kernel for kernel in roofline.read(path)}


def test_operations_and_bytes_from_the_details_page(tmp_path):
    add = counted(tmp_path / "ncu.csv", NCU_LONG)["_Z3addPf"]
    # (100 + 2 x 450) / 2 launches, 6000 bytes / 2, 3 us / 2
    assert add.launches == 2
    assert (add.flop, add.bytes) == ({"fp64": 0, "fp32": 500, "fp16": 0}, 3000)
    assert add.time_s == pytest.approx(1.5e-6)
    assert add.intensity == pytest.approx(1 / 6)


def test_a_whole_run_weighs_kernels_with_their_launches(tmp_path):
    kernels = list(counted(tmp_path / "ncu.csv", NCU_RAW).values())
    times = {"_Z3addPf": [2000] * 3, "_Z4copyPf": [4000], "_Z5otherv": [10000]}
    rows = [Activity("kernel", name, len(each), 0, Distribution.of(each)) for name, each in times.items()]
    total, covered = roofline.whole(kernels, Summary(rows, {}))
    assert (total.flop["fp64"], total.bytes) == (3 * 20, 3 * 4000 + 8000)
    assert covered == pytest.approx(0.5)


def test_no_csv_of_ncu_is_refused(tmp_path):
    (tmp_path / "ncu.csv").write_text("==ERROR== no permission\n")
    with pytest.raises(InputError, match="no CSV of ncu"):
        roofline.read(tmp_path / "ncu.csv")


def test_the_roofline_is_drawn_where_kernels_were_counted(tmp_path):
    shutil.copytree(FORM / "new", tmp_path / "run")
    kernel = "kern_pdf_gauss(int, int, int, float, float *)"
    (tmp_path / "run" / "ncu.csv").write_text(NCU_RAW.replace("_Z3addPf", kernel))
    (tmp_path / "ceilings.json").write_text(
        '{"name": "made up", "copy_bytes_per_s": 1e12, "fp64": 1e13, "fp32": 2e13, "fp16": 4e13}'
    )
    finished = bart_tf("profile", "--from", tmp_path, "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "out" / "roofline.png").read_bytes().startswith(b"\x89PNG")
    row = next(line for line in (tmp_path / "out" / "tables.md").read_text().splitlines() if "all sampled" in line)
    assert "30 % of kernel time" in row
    assert row.rstrip(" |").endswith("memory")


def test_a_trace_begins_a_training_again(tmp_path):
    """The rest of an interrupted training alone would have the counts and seconds of a whole one."""
    checkpoint = tmp_path / "runs" / "n-keras-tensorflow" / "checkpoint"
    checkpoint.mkdir(parents=True)

    def work(advance):
        raise ToolError("as it is" if checkpoint.exists() else "begun again")

    step = Step("n", checkpoint.with_name("train.json"), (), dict, "1", 1, 1, work)
    tracer = SimpleNamespace(name="cupti", around=lambda path: nullcontext())
    with pytest.raises(ToolError, match="begun again"):
        profiler._trace(step, "n", tmp_path, tracer, {}, Reporter(-1))


@pytest.mark.slow
def test_the_report_has_a_chapter_where_something_was_traced(tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "copy")
    before = experiment_report.write(folder).read_text()
    row = Activity("memset", "memset", 2, 0, Distribution.of([1000, 3000]), Distribution.of([10, 20]))
    facts = {"network": "varnet", "engine": "bart", "optimizer": "adam", "wall_s": 1.0, "tracer": "cupti"}
    summary.write(Summary([row], facts), folder / "profile" / "varnet-bart-cupti-0" / "summary.parquet")
    after = experiment_report.write(folder, chapter.for_report(folder)).read_text()
    assert "CUDA memory operations by time" not in before
    assert "CUDA memory operations by time" in after
    assert re.search(
        ">varnet, bart, adam</td>\\s*<td [^>]*>memset</td>\\s*<td [^>]*>2</td>\\s*<td [^>]*>0.004</td>", after
    )
    text = (folder / "tables.md").read_text()
    assert "CUDA memory operations by time" in text
    assert "| varnet, bart, adam | memset | 2 | 0.004 | 2000 |" in text
