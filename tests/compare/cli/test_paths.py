"""All commands accept relative paths from any working folder, although their children run elsewhere."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer.testing
import yaml

from bart_bridge.files import cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from compare.cli import app
from tests.compare.conftest import bart_tf_in_process
from tests.compare.conftest import bart_tf_undrawn as in_process_of_its_own

NETWORK = {"kind": "varnet", "iterations": 1, "filters": 2, "kernel_x": 3, "kernel_y": 3, "basis": 3}
EXPERIMENT = {
    "name": "x",
    "dataset": {"folder": "../data"},
    "networks": {"varnet": {"network": NETWORK, "training": {"epochs": 1, "batch_size": 2}}},
    "engines": ["bart", "bart-other"],
    "bart_binaries": {"bart-other": "../bin"},
    "baselines": [],
    "inference_calls": 1,
}


@pytest.fixture
def place(dataset_folder, toolbox, tmp_path, monkeypatch):
    """A folder with data, a BART and an experiment. The working folder is beside them."""
    shutil.copytree(dataset_folder, tmp_path / "data")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bart").symlink_to(toolbox.path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "x.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def bart_tf(*arguments):
    """Run a command in this process. Its children run in other folders."""
    result = typer.testing.CliRunner().invoke(app, list(map(str, arguments)), standalone_mode=False)
    assert result.exit_code == 0, f"{arguments}: {result.exception!r}"
    return result.output


def test_weights_are_converted(place):
    """`to-savedmodel`, whose check runs elsewhere, is in test_documents.py."""
    network = VarNetSettings(**NETWORK)
    weights.write("../wgh", network, weights.random(network, 0))
    options = ["--network=varnet", "-I1", "--varnet-block", "F=2,X=3,Y=3,W=3"]
    bart_tf("weights", "from-bart", *options, "../wgh", "model.keras")
    bart_tf("weights", "to-bart", "model.keras", "deep/wgh")
    assert bart_tf("weights", "info", "deep/wgh").splitlines()[0].endswith("VarNet")
    assert sorted(path.name for path in Path().iterdir()) == ["deep", "model.keras"]


def test_datasets_are_made(place):
    bart_tf("simulate", "../made", "--size", 16, "--train", 2, "--validation", 1, "--test", 1, "--bart", "../bin")
    full = np.ones(cfl.read_dims("../data/test/kspace"), np.complex64)
    cfl.write("kspace", full + np.random.default_rng(0).normal(size=full.shape))
    cfl.write("mask", full[:, :, :, :1, ..., :1])
    arguments = ["--pattern", "mask", "--coils", "../data/test/coils", "--bart", "../bin/bart"]
    bart_tf("import", "cfl", "./kspace", "deep/../imported", *arguments)
    assert Path("imported/test/coils.cfl").exists()


def test_an_experiment_is_run_and_looked_at(place, undrawn):
    bart_tf(
        "train", "../configs/x.yaml", "--network", "varnet", "--engine", "bart-other", "-o", "out", "--bart", "../bin"
    )
    # Not in this process: submitit configures logging, and absl then closes pytest's standard error.
    finished = in_process_of_its_own("compare", "../configs/x.yaml", "-o", "out", "--bart", "../bin", "--on", "local")
    assert finished.returncode == 0, finished.stderr
    # Resumed from another folder, the jobs still find their BART.
    (job,) = json.loads(Path("out/jobs/jobs.json").read_text())
    assert job["bart"] == str(Path("../bin").absolute())
    os.chdir("deep")
    bart_tf("report", "../out")
    bart_tf("diff", "../out", "../../elsewhere/out")
    for command in (["status", "../out"], ["collect", "../out", "--bart", "../../bin"]):
        finished = in_process_of_its_own("jobs", *command)
        assert finished.returncode == 0, finished.stderr
    runs = ["../out/runs/varnet-bart", "../out/runs/varnet-bart/../varnet-bart-other"]
    names = ("kspace", "coils", "pattern", "reference")
    files = [word for name in names for word in (f"--{name}", f"../../data/test/{name}")]
    bart_tf("apply", *runs, *files, "-o", "applied", "--bart", "../../bin")
    bart_tf("apply", *runs, "--dataset", "../../data", "-o", "applied-dataset")
    for folder in ("applied", "applied-dataset"):
        assert {"varnet-bart.cfl", "varnet-bart-other.cfl"} <= {path.name for path in Path(folder).iterdir()}
    os.chdir("../out/runs/varnet-bart")
    bart_tf("apply", ".", "--dataset", "../../../../data", "-o", "../../here")
    assert cfl.exists("../../here/varnet-bart")


def test_a_run_of_keras_is_applied(place):
    """Keras is a child process in the output folder."""
    from tf_models.files import model_files
    from tf_models.networks.build import build

    network = ModlSettings(iterations=1, layers=3, filters=2)
    Path("runs/modl-keras-tensorflow").mkdir(parents=True)
    content = {"engine": "keras-tensorflow", "device": "cpu", "network": network.model_dump()}
    Path("runs/modl-keras-tensorflow/run.yaml").write_text(yaml.safe_dump(content))
    model_files.save(build(network, weights.random(network, 0)), Path("runs/modl-keras-tensorflow/weights.keras"))
    bart_tf("apply", "runs/modl-keras-tensorflow", "--dataset", "../data", "-o", "deep/out", "--bart", "../bin")
    assert cfl.exists("deep/out/modl-keras-tensorflow")


def test_arrays_may_be_named_as_their_files_are(tiny, tmp_path):
    """A shell completes the suffix, which `bart reconet` does not take."""
    run, test = tiny[0] / "runs" / "varnet-bart", tiny[0] / "dataset" / "test"
    output = tmp_path / "applied"
    finished = bart_tf_in_process(
        "apply", run, "--kspace", test / "kspace.cfl", "--coils", test / "coils.hdr", "-o", output
    )
    assert finished.returncode == 0, finished.stderr
    np.testing.assert_array_equal(cfl.read(output / "varnet-bart"), cfl.read(run / "apply-images"))
    weights_file = tiny[0] / "runs" / "varnet-keras-tensorflow" / "weights.keras"
    finished = bart_tf_in_process("weights", "to-bart", weights_file, tmp_path / "wgh.cfl")
    assert f"KSPACE COILS {tmp_path}/wgh OUTPUT" in finished.stdout


def test_an_output_that_is_a_file_is_refused_and_left_alone(tiny_config, tmp_path):
    target = tmp_path / "file"
    target.write_text("mine")
    for output in (target, target / "below"):
        finished = bart_tf_in_process("compare", tiny_config, "-o", output)
        assert finished.returncode == 2
        assert finished.stderr == f"error: --output must be a folder, {target} is a file\n"
    assert target.read_text() == "mine"


@pytest.mark.parametrize("arguments", [("-o", ""), ("--output=",)])
def test_an_empty_argument_is_not_the_working_folder(arguments, tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = bart_tf_in_process("compare", tiny_config, *arguments)
    assert finished.returncode == 2
    assert "an argument is empty" in finished.stderr
    assert not list(tmp_path.iterdir())


def test_a_tilde_that_the_shell_leaves_alone_is_the_home_folder(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    finished = bart_tf_in_process("report", "~/nothing")
    assert finished.stderr.startswith(f"error: {tmp_path}/nothing: not an experiment's folder")
    (tmp_path / "file").write_text("")
    finished = bart_tf_in_process("compare", tiny_config, "--output=~/file")
    assert finished.stderr == f"error: --output must be a folder, {tmp_path}/file is a file\n"


def test_other_peoples_files_are_not_replaced_by_a_report(tiny_config, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    (tmp_path / "results.csv").write_text("mine")
    finished = bart_tf_in_process("compare", tiny_config, "-o", tmp_path)
    assert finished.returncode == 2
    message = f"{tmp_path}: a report would replace index.html, results.csv, and there is no experiment.yaml"
    assert finished.stderr == f"error: {message}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "results.csv", ".lock"}
