"""Folders of one experiment become one: nothing that was done is lost, done again or mixed up."""

import json
import shutil

import numpy as np
import pytest
import yaml

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import cfl
from compare.results import gaps
from compare.results.table import read_results
from compare.running import merge
from compare.running.run_files import Run, exchange_phase
from compare.settings.experiment import load_kept
from tests.compare.conftest import bart_tf, bart_tf_undrawn


@pytest.fixture
def days(tiny, tmp_path):
    """Two folders of the tiny experiment that have half of the runs each; only the second has the baselines."""
    folders = [tmp_path / "day1", tmp_path / "day2"]
    for folder in folders:
        shutil.copytree(tiny[0], folder)
    for lost in ("runs/modl-bart", "runs/varnet-keras-tensorflow", "references"):
        shutil.rmtree(folders[0] / lost)
    for lost in ("runs/modl-keras-tensorflow", "runs/varnet-bart"):
        shutil.rmtree(folders[1] / lost)
    (folders[1] / "runs" / "varnet-keras-tensorflow" / "infer.json").unlink()
    return folders


def refusal(*arguments):
    finished = bart_tf("merge", *arguments)
    assert (finished.returncode, finished.stdout) == (2, ""), finished.stdout
    (line,) = finished.stderr.splitlines()
    return line


def test_the_merged_experiment_lacks_nothing_that_one_of_both_has(days, tiny, tiny_config, tmp_path):
    both = tmp_path / "both"
    merged = bart_tf_undrawn("merge", *days, "-o", both)
    assert merged.returncode == 0, merged.stderr
    assert f"varnet on bart: 4 of 4 steps, {days[0]}, bart-tf " in merged.stdout
    assert f"varnet on keras-tensorflow: 3 of 4 steps, {days[1]}" in merged.stdout
    assert f"baselines: 2 of 2 steps, {days[1]}" in merged.stdout
    measured = read_results(both)
    expected = read_results(tiny[0])
    whole = expected[(expected.phase != "infer") | (expected.network != "varnet") | (expected.engine == "bart")]
    keys = ["network", "engine", "phase", "metric", "slice", "value"]
    assert measured[keys].round(9).to_csv() == whole[keys].round(9).reset_index(drop=True).to_csv()
    # The missing step, and no other, is done by the next comparison.
    again = bart_tf_undrawn("compare", tiny_config, "-o", both)
    assert again.returncode == 0, again.stderr
    assert "1 step done" in again.stderr


def test_folders_of_other_experiments_and_other_data_are_refused(days, tmp_path):
    assert refusal(days[0], "-o", tmp_path / "x").endswith("merge needs two folders or more, received 1")
    assert f"{days[1]}: must be a new folder, or an empty one" in refusal(*days, "-o", days[1])
    kept = yaml.safe_load((days[1] / "experiment.yaml").read_text())
    (days[1] / "experiment.yaml").write_text(yaml.safe_dump(kept | {"seed": 7}))
    line = refusal(*days, "-o", tmp_path / "x")
    assert f"{days[1]}: its experiment is not that of {days[0]} (seed changed from 7 to 0)" in line
    (days[1] / "experiment.yaml").write_text(yaml.safe_dump(kept))
    reference = Dataset.open(days[1] / "dataset").split("test").reference
    cfl.write(reference, np.array(cfl.read(reference)) * 2)
    assert "reference differ from" in refusal(*days, "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_exchange_with_the_weights_of_another_training_is_left_out(days, tmp_path):
    """Weights of the first folder were taken; the second reconstructed with its own, of another training."""
    for folder in days:
        kept = yaml.safe_load((folder / "experiment.yaml").read_text())
        (folder / "experiment.yaml").write_text(yaml.safe_dump(kept | {"exchange_weights": True}))
    phase = exchange_phase("bart")
    run = Run(days[1], "varnet", "keras-tensorflow")
    shutil.copy(run.images("apply").with_suffix(".cfl"), run.images(phase).with_suffix(".cfl"))
    record = json.loads(run.record("apply").read_text())

    def merged_with(weights, folder):
        run.record(phase).write_text(json.dumps(record | {"determinants": {"weights": weights}}))
        merge.merge(days, tmp_path / folder)
        return Run(tmp_path / folder, "varnet", "keras-tensorflow").record(phase).exists()

    own = json.loads(Run(days[0], "varnet", "bart").record("apply").read_text())["determinants"]["weights"]
    assert merged_with(own, "same")
    assert not merged_with("another", "other")


def test_versions_and_machines_are_marked(tiny):
    results = read_results(tiny[0])
    assert gaps.mixed(results) == []
    later = results.copy()
    later.loc[(later.network == "modl") & (later.engine == "bart"), ["engine_version", "machine"]] = ["0.9.00", "other"]
    versions, machines = gaps.mixed(later)
    assert versions.startswith("Several versions of bart: varnet: ")
    assert "modl: 0.9.00" in versions
    assert machines.startswith("modl: times and memory of several machines, not to be compared: bart on other; keras-")
    assert load_kept(tiny[0] / "experiment.yaml").networks.keys() == {"varnet", "modl"}
