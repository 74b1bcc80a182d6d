"""The comparison with the stored baseline, and that benchmarks stay out of other runs."""

import json
import os
import subprocess
import sys

import pytest

from tests.benchmarks.measure import ROOT


def written(path, **ratios):
    benchmarks = [{"name": name, "extra_info": {"times_as_fast_as_bart": ratio}} for name, ratio in ratios.items()]
    benchmarks.append({"name": "without BART", "extra_info": {}})
    path.write_text(json.dumps({"benchmarks": benchmarks}))
    return path


def compare(baseline, latest):
    argv = [sys.executable, "-m", "tests.benchmarks.regression", baseline, latest]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("now", "code", "message"),
    [
        ({"step": 7.6, "other": 30}, 0, ""),
        ({"step": 7.4, "other": 20}, 1, "step: was 10.0 times as fast as BART, now 7.4"),
        ({"step": float("nan"), "other": 20}, 1, "step: was 10.0"),
        ({"step": 10}, 1, "other: was 20.0 times as fast as BART, was not measured"),
    ],
    ids=["within a quarter", "beyond", "nan", "missing"],
)
def test_a_ratio_may_fall_by_a_quarter(now, code, message, tmp_path):
    baseline = written(tmp_path / "baseline.json", step=10, other=20)
    finished = compare(baseline, written(tmp_path / "latest.json", **now))
    assert (finished.returncode, message in finished.stderr) == (code, True), finished


def test_the_first_run_is_the_baseline(tmp_path):
    latest = written(tmp_path / "latest.json", step=10)
    assert compare(tmp_path / "baseline.json", latest).returncode == 0
    assert (tmp_path / "baseline.json").read_text() == latest.read_text()


def test_a_file_that_is_none_is_said(tmp_path):
    (tmp_path / "latest.json").write_text("{}")
    finished = compare(tmp_path / "baseline.json", tmp_path / "latest.json")
    assert finished.returncode == 2
    assert not (tmp_path / "baseline.json").exists()
    assert len(finished.stderr.splitlines()) == 1


def test_benchmarks_are_deselected_by_themselves():
    finished = run_pytest("--collect-only", "-q")
    assert "test_regression.py" in finished.stdout
    assert "test_kernels.py" not in finished.stdout
    assert "test_kernels.py" in run_pytest("--collect-only", "-q", "--benchmark-only").stdout


def run_pytest(*options):
    # In a worker of pytest-xdist there are no benchmarks; this is a pytest of its own.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    argv = [sys.executable, "-m", "pytest", *options, "tests/benchmarks"]
    return subprocess.run(argv, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", [["-n2"], ["--dist=load", "--tx=popen"]])
def test_benchmarks_side_by_side_are_refused(workers, tmp_path):
    finished = run_pytest(
        "--benchmark-only", f"--benchmark-json={tmp_path}/latest.json", "-k", "test_reading", *workers
    )
    assert finished.returncode == 4
    assert finished.stderr.strip() == (
        "ERROR: --benchmark-only: benchmarks run one after the other; add -n0 for no workers of xdist"
    )
