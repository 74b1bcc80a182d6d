"""What is done again, why, and where the older results are; and what is left alone."""

import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import bart_bridge
from bart_bridge import baselines
from bart_bridge.data.dataset import Split
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.errors import InputError
from bart_bridge.files import atomic, cfl
from bart_bridge.wording import counted
from compare.console import Reporter
from compare.running import locks, prepared_data, runner, submit
from compare.settings.experiment import Experiment, load
from compare.study import run as study_run
from compare.study import settings as study_settings
from tests.compare.conftest import bart_tf_in_process, start_bart_tf

TRAINING = {"learning_rate": 0.01, "batch_size": 2, "epochs": 1}
SETTINGS = {
    "name": "identity",
    "networks": {
        "varnet": {
            "network": {"kind": "varnet", "iterations": 1, "filters": 2, "kernel_x": 3, "kernel_y": 3, "basis": 3},
            "training": TRAINING,
        }
    },
    "engines": ["bart"],
    "inference_calls": 1,
}
RUN = "varnet on bart: "
TRAINED = [f"{RUN}train 1 epoch", f"{RUN}reconstruct", f"{RUN}time the reconstruction of a slice once"]
REFERENCES = ["zero-filled: reconstruct", "cg-sense: choose its regularization on validation slices and reconstruct"]
TESTED = [*REFERENCES, f"{RUN}reconstruct untrained", *TRAINED[1:]]


class Listening(Reporter):
    """Keeps what is said."""

    def __init__(self):
        super().__init__(-1)
        self.lines = []

    def say(self, text, level=0):
        self.lines.append(text)


@dataclass
class Place:
    """An experiment that was run, and may be run again."""

    folder: Path
    data: Path
    toolbox: object
    lines: list = field(default_factory=list)

    def run(self, data=None, **changes):
        """Run it with other settings, and return the titles of the steps that were done."""
        reporter = Listening()
        outcome = runner.run(self.experiment(data, **changes), self.folder, self.toolbox, reporter)
        assert not outcome.failed
        self.lines = reporter.lines
        return outcome.computed

    def experiment(self, data=None, **changes):
        return Experiment.model_validate({**SETTINGS, "dataset": {"folder": data or self.data}, **changes})

    def said(self, *words):
        return any(all(word in line for word in words) for line in self.lines)

    def older(self, name):
        """Return the files of that name among the older results."""
        return sorted(self.folder.glob(f"older/*/{name}"))


@pytest.fixture(scope="module")
def finished(dataset_folder, toolbox, tmp_path_factory):
    base = tmp_path_factory.mktemp("identity")
    place = Place(base / "out", shutil.copytree(dataset_folder, base / "data"), toolbox)
    assert sorted(place.run()) == sorted([*TESTED, TRAINED[0]])
    return place


@pytest.fixture
def place(finished, tmp_path):
    """A copy that a test may change; its experiment names the copied data."""
    shutil.copytree(finished.folder, tmp_path / "out")
    shutil.copytree(finished.data, tmp_path / "data")
    copy = replace(finished, folder=tmp_path / "out", data=tmp_path / "data")
    assert copy.run() == []
    return copy


def with_epochs(epochs):
    networks = {"varnet": {**SETTINGS["networks"]["varnet"], "training": {**TRAINING, "epochs": epochs}}}
    return {"networks": networks}


def change(array, where=0):
    values = np.array(cfl.read(array))
    values.flat[np.flatnonzero(values)[where]] *= 2
    cfl.write(array, values)


def test_a_copy_of_the_data_foreign_files_and_times_change_nothing(place):
    for name in ("README.md", "train/.notes.md", "test/kspace.md5"):
        (place.data / name).write_text("not used")
    for file in place.data.rglob("*"):
        os.utime(file, (1, 1))
    assert place.run() == []
    assert not place.older("*")


def test_the_cores_of_a_process_do_not_invalidate_what_is_finished(place, monkeypatch):
    threads = json.loads((place.folder / "runs/varnet-bart/train.json").read_text())["machine"]["threads"]
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads + 1))
    assert place.run() == []
    assert place.said(f"train 1 epoch: done before, with {counted(threads, 'thread')} (now it would be {threads + 1})")
    assert set(place.run(threads=2)) == {*TESTED[2:], TRAINED[0]}
    assert place.said("train 1 epoch: done again, threads changed from nothing to 2")


def test_other_test_data_do_not_train_again(place):
    before = (place.folder / "runs/varnet-bart/apply-images.cfl").read_bytes()
    old = json.loads((place.folder / "runs/varnet-bart/apply.json").read_text())["determinants"]["data"]["test"]
    (place.folder / "results.csv").write_text("older table")
    change(place.data / "test" / "kspace")
    assert set(place.run()) == set(TESTED)
    new = json.loads((place.folder / "runs/varnet-bart/apply.json").read_text())["determinants"]["data"]["test"]
    for title in ("reconstruct untrained", "reconstruct:", "cg-sense", "zero-filled"):
        reason = f"done again, data.test.kspace changed from {old['kspace']} to {new['kspace']}; the old results are in"
        assert place.said(title, reason)
    (kept,) = place.older("runs/varnet-bart/apply-images.cfl")
    assert kept.read_bytes() == before
    assert (place.folder / "runs/varnet-bart/apply-images.cfl").read_bytes() != before
    (kept,) = place.older("results.csv")
    assert kept.read_text() == "older table"
    assert len(place.older("references/cg-sense.json")) == 1
    assert place.run() == []


def test_data_are_validated_once_by_all_experiments(place, tmp_path, monkeypatch):
    """Also by the jobs of an array, which would wait for each other."""
    monkeypatch.setattr(Split, "validate", lambda self: pytest.fail("validated again"))
    assert place.run() == []
    assert replace(place, folder=tmp_path / "other").run(networks={}) == REFERENCES


def test_a_reference_is_no_part_of_what_is_reconstructed(place):
    change(place.data / "test" / "reference")
    assert place.run() == []


def test_another_training_leaves_the_older_one_whole(place):
    run = place.folder / "runs/varnet-bart"
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    done = place.run(**with_epochs(2))
    assert done == [title.replace("1 epoch", "2 epochs") for title in TRAINED]
    assert place.said("train 2 epochs: done again, training.epochs changed from 1 to 2; the old results are in")
    older = {path.name: path.read_bytes() for path in place.older("runs/varnet-bart/*")}
    assert {"weights.cfl", "history.npz", "train.json", "apply.json", "apply-images.cfl", "infer.json"} <= older.keys()
    assert older.items() <= before.items()
    assert (run / "weights.cfl").read_bytes() != before["weights.cfl"]


def test_images_depend_on_the_weights(place):
    file = place.folder / "runs/varnet-bart/weights.cfl"
    (2 * np.fromfile(file, np.complex64)).tofile(file)
    assert place.run() == TRAINED[1:]
    assert place.said("reconstruct: done again, weights changed from")
    assert place.said("time the reconstruction", "done again, weights changed from")


def test_baselines_depend_on_grid_and_version(place, monkeypatch):
    shorter = replace(baselines.BASELINES["cg-sense"], grid=(0.01, 0.1))
    monkeypatch.setitem(baselines.BASELINES, "cg-sense", shorter)
    assert place.run() == [REFERENCES[1]]
    assert place.said("cg-sense", "done again, grid changed from [0.0001,", "to [0.01, 0.1]; the old results are in")
    change(place.data / "validation" / "reference")
    assert place.run() == [REFERENCES[1]]
    monkeypatch.setattr(bart_bridge, "__version__", "99.0")
    assert set(place.run()) == {*TESTED, TRAINED[0]}
    assert place.said("cg-sense", "done again, version changed from")


def test_records_of_the_version_before_are_kept_aside(place):
    records = [*place.folder.glob("runs/*/*.json"), *place.folder.glob("references/*.json")]
    for path in records:
        record = json.loads(path.read_text())
        del record["determinants"]
        path.write_text(json.dumps({"fingerprint": "0123456789abcdef"} | record))
    assert set(place.run()) == {*TESTED, TRAINED[0]}
    assert place.said("train 1 epoch", "done again, its record is of an earlier version of bart-tf")
    assert {path.name for path in place.older("runs/*/*.json")} >= {"initial.json", "train.json", "apply.json"}


def test_only_our_leftovers_are_removed(place):
    """In folders of a person who keeps notes there."""
    kept = [place.folder / name for name in (".notes.md", "runs/varnet-bart/.gitlab-ci.yml", "references/one-slice-x")]
    for path in kept:
        path.write_text("somebody's own")
    ours = [path.with_name(f"{atomic.PREFIX}1") for path in kept]
    for path in ours:
        path.write_text("half")
    place.run(**with_epochs(2), baselines=["cg-sense", "total-variation"])
    assert all(path.read_text() == "somebody's own" for path in kept)
    assert not any(path.exists() for path in ours)


@pytest.fixture(scope="module")
def radial(toolbox, tmp_path_factory):
    settings = {"size": 16, "coil_count": 2, "train": 2, "validation": 1, "test": 2, "spokes": 9}
    folder = tmp_path_factory.mktemp("radial") / "data"
    simulate(folder, Simulation(pattern="golden-angle", **settings), toolbox)
    return folder


def test_another_bart_looks_at_radial_data(radial, toolbox, tmp_path):
    """It grids them for itself: what was computed of the first one's is still there, and valid."""
    notes = radial / "test" / ".kspace.md5"
    notes.write_text("somebody's own")
    place = Place(tmp_path / "out", radial, toolbox)
    assert place.run(networks={}) == REFERENCES
    other = Place(tmp_path / "other", radial, replace(toolbox, version=(99, 8, 7)))
    assert other.run(networks={}) == REFERENCES
    assert place.run(networks={}) == []
    assert replace(place, toolbox=other.toolbox).run(networks={}) == REFERENCES
    assert len(list(radial.glob("test/gridded-*"))) == 2
    assert notes.exists()


def test_data_that_cannot_be_written(radial, toolbox, tmp_path):
    """What is remembered and computed of them goes to the experiment."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    data = tmp_path / "read-only"
    data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", data], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        shutil.copytree(radial, data, dirs_exist_ok=True, ignore=shutil.ignore_patterns("gridded-*", ".*"))
        subprocess.run(["mount", "-o", "remount,ro", data], check=True)
        place = Place(tmp_path / "out", data, toolbox)
        assert place.run(networks={}) == REFERENCES
        assert place.run(networks={}) == []
    finally:
        subprocess.run(["umount", data], check=True)
    assert len(list((tmp_path / "out/data/test").glob("gridded-*"))) == 1


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != locks.NAME}


def test_who_is_refused_changes_nothing(place):
    """Another process works on a run with the settings that the folder has."""
    before = contents(place.folder)
    with locks.held(place.folder / "runs/varnet-bart"):
        with pytest.raises(locks.BusyError, match=r"another process .* \(networks\.varnet\.training\.epochs changed"):
            place.run(**with_epochs(2))
        with pytest.raises(locks.BusyError, match=r"dataset\.simulate"):
            place.run(dataset={"simulate": {"size": 16, "train": 2, "validation": 1, "test": 1}})
        assert contents(place.folder) == before
        assert place.run() == []  # the same settings: it is welcome
    with pytest.raises(InputError, match="not a dataset folder"):
        place.run(dataset={"folder": "/nowhere"})
    with pytest.raises(InputError, match="without CUDA"):
        place.run(device="gpu")
    assert contents(place.folder) == before


def test_a_process_stops_when_another_gave_the_folder_other_settings(place):
    class Meanwhile(Listening):
        def step(self, title, total):
            settings = place.experiment(seed=1).model_dump(mode="json")
            (place.folder / "experiment.yaml").write_text(yaml.safe_dump(settings))
            return super().step(title, total)

    for path in place.folder.glob("references/*.json"):
        path.unlink()
    with pytest.raises(InputError, match=r"another process gave it other settings \(seed changed from 0 to 1\)"):
        runner.run(place.experiment(), place.folder, place.toolbox, Meanwhile())


def test_parts_with_results_of_other_data_are_submitted_again(place):
    def outdated():
        data = prepared_data.prepare(place.experiment(), place.folder, place.toolbox, Listening())
        return submit.outdated(place.experiment(), place.folder, "", data.identity)

    assert outdated() == []
    change(place.data / "validation" / "reference")
    assert outdated() == [("", "references")]
    change(place.data / "train" / "kspace")
    assert outdated() == [("", "references"), ("varnet", "bart")]


def test_a_job_of_older_settings_changes_nothing(place):
    older = submit.Work(place.experiment(seed=1), place.folder, [("varnet", "bart")])
    before = contents(place.folder)
    with pytest.raises(InputError, match=r"than when this job was submitted \(seed changed from 1 to 0\)"):
        older()
    assert contents(place.folder) == before


def test_data_are_kept_when_their_settings_change(toolbox, tmp_path):
    """Also those that somebody put where simulated ones would be."""
    simulated = {"simulate": {"size": 16, "coil_count": 2, "train": 2, "validation": 1, "test": 1}}
    place = Place(tmp_path / "out", tmp_path, toolbox)
    place.run(networks={}, dataset=simulated)
    (place.folder / "dataset" / "notes.txt").write_text("somebody's own")
    replace(place, toolbox=replace(toolbox, version=(99, 8, 7))).run(networks={}, dataset=simulated)
    assert (place.folder / "dataset" / "notes.txt").exists(), "another BART simulates the same"
    other = {"simulate": {**simulated["simulate"], "noise": 0.1}}
    place.run(networks={}, dataset=other)
    assert place.said("dataset: simulated anew, simulation.noise changed from 0.01 to 0.1; the old one is in")
    (kept,) = place.older("dataset/notes.txt")
    assert (kept.parent / "test" / "kspace.cfl").exists()


def test_train_with_a_memory_plan_changes_the_experiment_of_nobody(tmp_path, dataset_folder):
    config = tmp_path / "identity.yaml"
    content = {**SETTINGS, "dataset": {"folder": str(dataset_folder)}, "engines": ["bart", "keras-tensorflow"]}
    config.write_text(yaml.safe_dump(content))
    arguments = ["--network", "varnet", "--engine", "keras-tensorflow", "--memory", "lean", "-o", tmp_path / "out"]
    training = start_bart_tf("train", config, *arguments)
    while not (tmp_path / "out/runs/varnet-keras-tensorflow-lean/train-job.json").exists():
        assert training.poll() is None, training.communicate()[1]
        time.sleep(0.05)
    training.kill()
    training.communicate()
    assert load(tmp_path / "out" / "experiment.yaml") == load(config)


def test_a_checkpoint_is_removed_by_who_holds_the_run(place):
    """`bart-tf train --no-resume`, while another process works on the run."""
    for name in ("initial", "train"):
        (place.folder / f"runs/varnet-bart/{name}.json").unlink()
    checkpoint = place.folder / "runs/varnet-bart/checkpoint"
    checkpoint.mkdir()
    waiting = Listening()
    selection = runner.Selection([("varnet", "bart")], ["train"], repeats=False, resume=False)
    arguments = (place.experiment(), place.folder, place.toolbox, waiting, selection)
    thread = threading.Thread(target=runner.run, args=arguments)
    with locks.held(place.folder / "runs/varnet-bart"):
        thread.start()
        while not any("another process works on this run" in line for line in waiting.lines):
            thread.join(0.05)
            assert thread.is_alive()
        assert checkpoint.exists()
    thread.join()
    assert not checkpoint.exists()
    assert (place.folder / "runs/varnet-bart/train.json").exists()


def test_a_study_that_is_refused_stays_as_it_is(tmp_path, dataset_folder, toolbox):
    content = {
        "name": "study",
        "dataset": {"folder": dataset_folder},
        "networks": {"varnet": SETTINGS["networks"]["varnet"]["network"]},
        "training": {"batch_size": 2, "epochs": 1},
        "seeds": [0, 1, 2],
        "optimizers": {"sgd": [{"learning_rate": 0.1}]},
    }
    (tmp_path / "index.html").write_text("of another project")
    with pytest.raises(InputError, match=r"a report would replace index.html, and there is no study.yaml"):
        study_run.run(study_settings.Study.model_validate(content), tmp_path, toolbox, Listening())
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    (tmp_path / "study.yaml").write_text("the one that is there")
    for changes in ({"dataset": {"folder": "/nowhere"}}, {"device": "gpu"}):
        study = study_settings.Study.model_validate({**content, **changes})
        with pytest.raises(InputError):
            study_run.run(study, tmp_path, toolbox, Listening())
        assert (tmp_path / "study.yaml").read_text() == "the one that is there"


def test_apply_writes_nothing_before_all_runs_can_be_used(place, tmp_path):
    test = place.data / "test"
    files = ["--kspace", test / "kspace", "--coils", test / "coils"]
    finished = bart_tf_in_process(
        "apply", place.folder / "runs/varnet-bart", tmp_path, *files, "-o", tmp_path / "applied"
    )
    assert finished.returncode == 2
    assert "not the folder of a trained run" in finished.stderr
    assert not (tmp_path / "applied").exists()
    with locks.held(tmp_path / "applied"):
        busy = bart_tf_in_process("apply", place.folder / "runs/varnet-bart", *files, "-o", tmp_path / "applied")
    assert busy.returncode == 1
    assert "another process works on it" in busy.stderr
    assert [path.name for path in (tmp_path / "applied").iterdir()] == [locks.NAME]
