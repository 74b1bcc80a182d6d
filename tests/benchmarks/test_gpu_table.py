"""The tables of `gpu_steps`, from the committed runs; no GPU is needed."""

import json

import pytest

from tests.benchmarks import gpu_growth, gpu_table

RUNS = sorted(gpu_table.FOLDER.glob("gpu_steps_*.json"))


def printed(capsys, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["gpu_table", *map(str, arguments)])
    code = gpu_table.main()
    return code, capsys.readouterr()


def test_tables_have_every_case_of_the_committed_runs(capsys, monkeypatch):
    code, output = printed(capsys, monkeypatch)
    assert code == 0
    runs = [json.loads(path.read_text()) for path in RUNS]
    assert {run["backend"] for run in runs} == {"jax", "tensorflow", "torch"}
    for run in runs:
        for name, case in run["steps"].items():
            (line,) = [
                line
                for line in output.out.splitlines()
                if line.startswith(f"| {name.replace('-', ' ')}")
                and f"| {run['backend']} | {case['step_s']:.3g} (" in line
            ]
            assert f"| {case['allocator_peak_gib']:.3g} |" in line
    rows = [
        line for line in output.out.splitlines() if line.count("|") == 9 and line.split("|")[3].strip()[0].isdigit()
    ]
    assert len(rows) == sum(len(run["growth"]) for run in runs)


def test_ratios_are_those_of_the_seconds(capsys, monkeypatch, tmp_path):
    run = {"backend": "jax", "several_gpus": {"2": {"skipped": "1 GPU here"}}, "growth": []}
    case = {"step_s": 0.1, "step_min_s": 0.09, "step_max_s": 0.2, "allocator_peak_gib": 2, "first_step_s": 5}
    case |= {"first_step_again_s": None, "inference_s": {"1": 0.001, "10": 0.02}}
    steps = {"varnet-ipalm-lean": case | {"work": {"backtracks": 7}}, "modl-lean": case}
    bart = {"rows": [{"program": "BART", "network": "modl", "step_s": 0.8, "peak_gib": 16}]}
    for name, content in (
        ("now", run | {"steps": {**steps, "varnet-plain": {"error": "first line\nout of memory"}}}),
        ("before", run | {"steps": {"modl-lean": case | {"step_s": 0.25}}}),
        ("bart", bart),
    ):
        (tmp_path / name).write_text(json.dumps(content))
    paths = tmp_path / "now", "--bart", tmp_path / "bart", "--before", tmp_path / "before"
    _, output = printed(capsys, monkeypatch, *paths)
    assert "| modl lean | jax | 0.1 (0.09 to 0.2) | 8.0 | 2.50 | 2 | 5 | n/a | 1, 20 |" in output.out
    assert "| varnet ipalm lean | jax | 0.1 (0.09 to 0.2) | n/a | n/a | 2 |" in output.out
    assert output.out.index("| modl lean |") < output.out.index("| varnet ipalm lean |")
    assert "| varnet plain | jax | n/a: out of memory |" in output.out
    assert "| modl | BART | 0.8 | 1.0 |" in output.out
    assert "| 2 | jax | | n/a: 1 GPU here | |" in output.out


def test_other_json_is_refused_in_one_line(capsys, monkeypatch, tmp_path):
    (tmp_path / "other").write_text("{}")
    code, output = printed(capsys, monkeypatch, tmp_path / "other")
    assert code == 2
    (line,) = output.err.splitlines()
    assert "has no `backend` and `steps`" in line


@pytest.mark.parametrize("plan", ["plain", "lean"])
def test_growth_ends_with_the_largest_case(plan):
    cases = gpu_growth.cases(f"modl-{plan}")
    assert len(set(cases)) == len(cases)
    last = cases[-1]
    assert (last.size_y, last.size_x, last.coils, last.batch) == (512, 512, 32, 40)
