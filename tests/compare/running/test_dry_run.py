"""What `bart-tf compare --dry-run` says before anything runs; see also `tests/compare/study/test_dry_run.py`."""

import json
import shutil

import pytest
import yaml

from bart_bridge.data.simulation import Simulation, simulate
from compare.console import Reporter
from compare.results.table import read_results
from compare.running import dry_run, prepared_data, runner
from compare.settings.experiment import load
from tests.compare.conftest import TINY, bart_tf_in_process

TITLE = "varnet on keras-tensorflow: "


@pytest.fixture
def changed(tmp_path):
    """Write the experiment with some changes, and return its path."""

    def write(*changes):
        text = TINY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "changed.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def finished(tiny, tmp_path):
    """A copy of the finished experiment."""
    return shutil.copytree(tiny[0], tmp_path / "reports" / "tiny")


def plan(config, folder, toolbox):
    steps = runner.plan(load(config), folder, toolbox, Reporter(-1)).plan()
    return {step.title: step for step in steps}


def record(folder, name):
    return json.loads((folder / "runs" / "varnet-keras-tensorflow" / f"{name}.json").read_text())


def files(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_without_earlier_runs_everything_is_unknown_and_nothing_is_written(tiny_config, tmp_path):
    said = bart_tf_in_process("compare", tiny_config, "-o", tmp_path / "empty" / "out", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert "dataset: 8 slices still to be simulated" in said.stderr
    lines = said.stdout.splitlines()
    assert all(line.split()[:2] == ["unknown", "unknown"] for line in lines[1:19])
    assert lines[1].endswith("[1/18] zero-filled: reconstruct")
    assert lines[19:] == [
        "unknown without a reason: no earlier run has done this step",
        "18 steps: 0 done, 18 to do",
        "time: unknown",
    ]
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_not_counted_and_nothing_changes(tiny_config, finished):
    before = files(finished)  # a copy, whose arrays are hashed anew
    said = bart_tf_in_process("compare", tiny_config, "-o", finished, "--dry-run")
    assert said.stdout.splitlines()[-1] == "18 steps: 18 done, 0 to do"
    assert files(finished) == before


def test_a_training_that_is_missing_takes_what_needs_its_weights_along(tiny_config, finished, toolbox):
    times = {name: record(finished, name)["step_s"] for name in ("train", "apply", "infer")}
    (finished / "runs/varnet-keras-tensorflow/train.json").unlink()
    steps = plan(tiny_config, finished, toolbox)
    assert {title for title, step in steps.items() if step.state != "done"} == {
        TITLE + "train 2 epochs",
        TITLE + "reconstruct",
        TITLE + "time the reconstruction of a slice 3 times",
    }
    assert steps[TITLE + "train 2 epochs"].estimate.seconds is None
    assert steps[TITLE + "reconstruct"].state == "again: its training is done again"
    assert steps[TITLE + "reconstruct"].estimate.seconds == times["apply"]


def test_a_longer_training_of_other_phantoms_is_estimated_from_the_experiment_beside_it(changed, finished, toolbox):
    config = changed(("epochs: 2", "epochs: 7"), ("seed: 3", "seed: 4"), ("noise: 0.02", "noise: 0.01"))
    steps = plan(config, finished.parent / "other", toolbox)
    earlier = record(finished, "train")
    estimate = steps[TITLE + "train 7 epochs"].estimate
    assert estimate.seconds == pytest.approx(earlier["step_s"] + 5 * earlier["seconds"]["epoch"])
    assert estimate.peak_bytes == earlier["measurement"]["peak_rss_bytes"]
    assert estimate.reason == "as in tiny/runs/varnet-keras-tensorflow/train of 2 epochs"
    assert steps[TITLE + "reconstruct"].estimate.seconds == record(finished, "apply")["step_s"]
    assert all(step.state == "missing" for step in steps.values())


def test_time_and_memory_do_not_depend_on_the_learning_rate(changed, finished, toolbox):
    config = changed(("learning_rate: 0.01", "learning_rate: 0.02"), ("seed: 3", "seed: 4"))
    estimate = plan(config, finished.parent / "other", toolbox)[TITLE + "train 2 epochs"].estimate
    earlier = record(finished, "train")
    assert (estimate.seconds, estimate.peak_bytes) == (earlier["step_s"], earlier["measurement"]["peak_rss_bytes"])
    assert estimate.reason == "as in tiny/runs/varnet-keras-tensorflow/train with another learning_rate"


def test_another_algorithm_is_another_step(changed, finished, toolbox):
    config = changed(("{learning_rate: 0.01", "{algorithm: sgd, learning_rate: 0.01"), ("seed: 3", "seed: 4"))
    estimate = plan(config, finished.parent / "other", toolbox)[TITLE + "train 2 epochs"].estimate
    assert (estimate.seconds, estimate.peak_bytes) == (None, None)
    assert estimate.reason == "no earlier run has done this step"


def test_records_of_data_that_were_replaced_tell_nothing_of_the_new_ones(changed, finished, toolbox):
    """As after a run with other sizes that was interrupted once its dataset was simulated."""
    config = changed(("size: 24", "size: 32"))
    prepared_data.prepare(load(config), finished, toolbox, Reporter(-1))
    steps = plan(config, finished, toolbox)
    for what in ("train 2 epochs", "reconstruct"):
        assert steps[TITLE + what].estimate.seconds is None
        assert steps[TITLE + what].estimate.reason.endswith("with other data")


def test_a_folder_of_other_people_is_refused(tiny_config, tmp_path):
    (tmp_path / "results.csv").touch()
    said = bart_tf_in_process("compare", tiny_config, "-o", tmp_path, "--dry-run")
    assert said.returncode == 2
    assert said.stderr.endswith(f"{tmp_path}: a report would replace results.csv, and there is no experiment.yaml\n")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("size: 24", "size: 32"), "with other data"),
        (("filters: 3", "filters: 4"), "with other settings: network.filters changed from 3 to 4"),
        (("inference_calls: 3", "threads: 7"), "with 1 thread, not 7"),
    ],
)
def test_nothing_is_taken_from_other_sizes_settings_or_threads(changed, finished, toolbox, change, reason):
    estimate = plan(changed(change), finished.parent / "other", toolbox)[TITLE + "train 2 epochs"].estimate
    assert (estimate.seconds, estimate.peak_bytes) == (None, None)
    assert estimate.reason == f"in tiny/runs/varnet-keras-tensorflow/train {reason}"


def test_nothing_is_taken_from_another_machine_or_bart(changed, finished, toolbox):
    config = changed(("seed: 3", "seed: 4"))
    for path in finished.glob("runs/*/apply.json"):
        content = json.loads(path.read_text())
        content["machine"]["processor"] = "another"
        path.write_text(json.dumps(content))
    train = finished / "runs/varnet-bart/train.json"
    content = json.loads(train.read_text())
    content["machine"]["bart"]["bart"]["blas"] = "another BLAS"
    train.write_text(json.dumps(content))
    steps = plan(config, finished.parent / "other", toolbox)
    assert steps[TITLE + "reconstruct"].estimate.reason.endswith("apply on another machine")
    assert steps["varnet on bart: train 2 epochs"].estimate.reason.endswith("train with another build of BART")
    assert steps[TITLE + "train 2 epochs"].estimate.seconds


def test_an_interrupted_training_has_no_time_but_a_memory(changed, finished, toolbox):
    path = finished / "runs/varnet-keras-tensorflow/train.json"
    content = json.loads(path.read_text())
    content["measurement"]["ending"] += ", continued after 3 updates"
    path.write_text(json.dumps(content))
    steps = plan(changed(("seed: 3", "seed: 4")), finished.parent / "other", toolbox)
    estimate = steps[TITLE + "train 2 epochs"].estimate
    assert (estimate.seconds, estimate.reason) == (None, "the earlier training was interrupted")
    assert estimate.peak_bytes == content["measurement"]["peak_rss_bytes"]


def test_damaged_records_are_passed_over(changed, finished, toolbox):
    (finished / "runs/varnet-bart/train.json").write_text("{")
    (finished / "runs/varnet-bart/apply.json").write_text(json.dumps({"step_s": 1, "determinants": [], "machine": 2}))
    steps = plan(changed(("seed: 3", "seed: 4")), finished.parent / "other", toolbox)
    assert steps["varnet on bart: train 2 epochs"].estimate.reason == "no earlier run has done this step"
    assert steps["varnet on bart: reconstruct untrained"].estimate.seconds


def test_the_sums_say_what_they_leave_out(changed, finished, toolbox):
    config = changed(("epochs: 2", "epochs: 3"), ("seed: 3", "seed: 4"), ("filters: 4", "filters: 5"))
    schedule = runner.plan(load(config), finished.parent / "other", toolbox, Reporter(-1))
    lines = dry_run.lines({"": schedule.plan()}, gpu=True)
    assert lines[0].split() == ["time", "memory", "GPU", "memory", "step"]
    assert lines[-3] == "18 steps: 0 done, 18 to do"
    assert "without the report, for 10 steps; for 8 it is unknown" in lines[-2]
    assert lines[-1].endswith("GiB of the 7 steps where it is known") or lines[-1].endswith("8 steps where it is known")


def test_a_dataset_folder_is_opened_and_radial_data_are_not_gridded(toolbox, tmp_path):
    simulation = Simulation(size=16, coil_count=2, train=2, validation=1, test=1, pattern="radial", spokes=5)
    simulate(tmp_path / "data", simulation, toolbox)
    for folder in tmp_path.glob("data/*/gridded-*"):
        shutil.rmtree(folder)
    content = yaml.safe_load(TINY) | {"dataset": {"folder": "data"}}
    (tmp_path / "radial.yaml").write_text(yaml.safe_dump(content))
    steps = plan(tmp_path / "radial.yaml", tmp_path / "out", toolbox)
    assert len(steps) == 18
    assert not list((tmp_path / "data").rglob("gridded-*"))
    assert not (tmp_path / "out").exists()


def test_a_dry_run_submits_nothing(tiny_config):
    said = bart_tf_in_process("compare", tiny_config, "--dry-run", "--on", "local")
    assert said.returncode == 2
    assert said.stderr == "error: --on: --dry-run looks at this machine and submits nothing\n"


def test_a_machine_whose_memory_has_grown_is_no_other_one(finished, tiny_config):
    """As that of some virtual machines does while it is used: times before and after can be compared."""
    for path in [*finished.glob("runs/*/*.json"), *finished.glob("references/*.json")]:
        content = json.loads(path.read_text())
        if "machine" in content:
            content["machine"]["memory_bytes"] //= 2
            path.write_text(json.dumps(content))
    (finished / "runs" / "varnet-keras-tensorflow" / "infer.json").unlink()
    done = bart_tf_in_process("compare", tiny_config, "-o", finished)
    assert done.returncode == 0, done.stderr
    assert "1 step done" in done.stderr
    assert "several machines" not in (finished / "index.html").read_text()
    table = read_results(finished)
    assert table.machine[table.machine != ""].nunique() == 1
