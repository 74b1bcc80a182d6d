"""A folder where a file is needed, a file where a folder is, an empty file, a folder that is missing: one line."""

import os
import subprocess
import sys

import pytest

from bart_bridge.reconet import weights
from tests.compare.cli.weights_cases import NETWORKS
from tests.compare.conftest import bart_tf_in_process
from tf_models.files import model_files
from tf_models.networks.build import build

OF_MODL = ["--network=modl", "-I2", "--resnet-block", "L=4,F=3,X=5"]
FILE_NEEDED = "cannot be read (it is a folder, and a file is needed)"
BELOW_A_FILE = "cannot be read (part of its path is a file, and a folder is needed)"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder: a folder, a file, empty files, weights of BART and a Keras model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty.yaml").touch()
    for name in ("run", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "run.yaml").mkdir()
    (tmp_path / "data" / "dataset.yaml").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.csv").mkdir()
    weights.write(tmp_path / "wgh", NETWORKS["modl"], weights.random(NETWORKS["modl"], 0))
    model_files.save(build(NETWORKS["modl"], weights.random(NETWORKS["modl"], 0)), tmp_path / "model.keras")
    return tmp_path


def refused(*arguments):
    finished = bart_tf_in_process(*arguments)
    assert finished.stderr.count("error: ") == finished.stderr.startswith("error: ") == 1, finished.stderr
    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (2, "", 1), finished.stderr
    assert "Errno" not in finished.stderr
    return finished.stderr.removeprefix("error: ").strip()


@pytest.mark.parametrize("command", ["compare", "parity", "optimizers"])
@pytest.mark.parametrize(
    ("path", "fault"),
    [
        (".", FILE_NEEDED),
        ("file/x.yaml", BELOW_A_FILE),
        ("none.yaml", "cannot be read (no such file)"),
        ("empty.yaml", "keys are needed, it is empty"),
    ],
)
def test_settings_that_are_no_file(command, path, fault, place):
    assert refused(command, path) == f"{path}: {fault}"


def test_results_that_are_no_file(place):
    assert refused("diff", "folder", "other") == f"{place}/folder/results.csv: cannot be read (no such file)"
    assert refused("diff", "file", "other") == f"{place}/file/results.csv: {BELOW_A_FILE}"
    assert refused("diff", "damaged", "other") == f"{place}/damaged/results.csv: {FILE_NEEDED}"
    line = refused("merge", "folder", "other", "-o", "merged")
    assert line == f"{place}/folder/experiment.yaml: cannot be read (no such file)"


def test_runs_and_datasets_that_are_none(place):
    """The path stands in the line once."""
    of_run = f"{place}/run: not the folder of a trained run (run.yaml: {FILE_NEEDED})"
    assert refused("apply", "run", "--kspace", "wgh", "--coils", "wgh", "-o", "out") == of_run
    of_data = f"{place}/data: not a dataset folder (dataset.yaml: keys are needed, it is empty)"
    assert refused("apply", "run", "--dataset", "data", "-o", "out") == of_data


NO_FOLDER = "{0}: must be in a folder that exists, there is no folder none"
IN_A_FILE = "{0}: must be in a folder, file is a file"
SAVED = ["--x", "24", "--y", "24"]


@pytest.mark.parametrize(
    ("command", "target", "fault"),
    [
        (["from-bart", *OF_MODL, "wgh"], "none/m.keras", NO_FOLDER),
        (["from-bart", *OF_MODL, "wgh"], "file/m.keras", IN_A_FILE),
        (["from-bart", *OF_MODL, "wgh"], "folder.keras", "{0}: must be a file to write, it is a folder"),
        (["from-tf1", "checkpoint"], "none/m.keras", NO_FOLDER),
        (["to-bart", "model.keras"], "none/wgh", NO_FOLDER),
        (["to-bart", "model.keras"], "file/wgh", IN_A_FILE),
        (["to-savedmodel", *SAVED, "model.keras"], "none/saved", NO_FOLDER),
        (["to-savedmodel", *SAVED, "model.keras"], "file/saved", IN_A_FILE),
        (["to-savedmodel", *SAVED, "--for=bart", "--coils=2", "model.keras"], "none/saved", NO_FOLDER),
    ],
)
def test_outputs_without_a_folder(command, target, fault, place):
    before = sorted(place.rglob("*"))
    assert refused("weights", *command, target) == fault.format(target)
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("option", ["--train", "--apply"])
def test_reconet_looks_for_the_folder_before_it_computes(option, place, dataset_folder):
    test = dataset_folder / "test"
    last = [place / "wgh", "none/out"] if option == "--apply" else ["none/wgh", test / "reference"]
    line = refused("reconet", option, *OF_MODL, test / "kspace", test / "coils", *last)
    assert line.endswith(f"must be in a folder that exists, there is no folder {place}/none")


def test_datasets_and_exports_below_a_file(place, dataset_folder):
    line = f"{place}/file/x: must be in a folder, {place}/file is a file"
    finished = bart_tf_in_process("simulate", "file/x", "--size", 16)
    assert (finished.returncode, finished.stderr.splitlines()[-1]) == (2, f"error: {line}")
    finished = bart_tf_in_process("export", "png", dataset_folder, "file/x")
    assert (finished.returncode, finished.stderr.splitlines()[-1]) == (2, f"error: {line}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission(place):
    (place / "empty.yaml").chmod(0)
    assert refused("compare", "empty.yaml") == "empty.yaml: cannot be read (no permission)"


def test_weights_of_bart_are_no_keras_model(place):
    for command in (["to-savedmodel", "wgh", "saved", *SAVED], ["to-bart", "wgh.cfl", "other_wgh"]):
        expected = (
            f"{command[1]}: a .keras file is needed, these are BART's; bart-tf weights from-bart makes one of them"
        )
        assert refused("weights", *command) == expected


def test_a_backend_that_is_not_installed_is_named_with_its_extra(place):
    """Where it is installed, it is hidden."""
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from compare.cli import main\n"
        "main()"
    )
    command = ["weights", "to-savedmodel", "model.keras", "m.pt", *SAVED, "--for=bart-pytorch", "--coils=2"]
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    finished = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False, env=environment
    )
    assert finished.returncode == 1
    expected = "torch is not installed; install bart-tf with the extra 'torch' (bart-tf-compare[torch])"
    assert finished.stderr == f"error: {expected}\n"
