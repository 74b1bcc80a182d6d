"""`bart-tf configs`, and commands that take the name of a built-in experiment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bart_bridge
from compare.settings import builtin
from compare.settings.experiment import load
from tests.compare.conftest import TINY, bart_tf_in_process

ROOT = Path(__file__).resolve().parents[3]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_experiment_is_listed_with_what_it_needs():
    assert builtin.names() == NAMES
    needs = {summary.name: summary.needs for summary in builtin.summaries()}
    assert needs["demo"] == ""
    assert needs["varnet_knee"] == "your data, an NVIDIA GPU"
    assert needs["barts"] == "bart-0.8, bart-0.9, bart-1.0"
    finished = bart_tf_in_process("configs")
    assert finished.returncode == 0
    assert all(name in finished.stdout for name in NAMES)
    commands = [line for line in finished.stdout.splitlines() if not line.startswith(" ")]
    assert len(commands) == len(NAMES)
    assert {"bart-tf compare demo", "bart-tf profile profile", "bart-tf optimizers optimizers"} <= {*commands}
    assert max(map(len, finished.stdout.splitlines())) <= 80


def test_a_name_is_the_file_of_the_package():
    assert builtin.find(Path("demo")) == ROOT / "configs" / "demo.yaml"
    assert load(builtin.find(Path("demo"))).name == "demo"


def test_a_file_or_an_experiments_folder_goes_first(empty_folder):
    for path in (Path("demo.yaml"), Path("configs/demo"), empty_folder / "demo"):
        assert builtin.find(path) == path
    Path("demo").mkdir()
    assert builtin.find(Path("demo")) != Path("demo")
    Path("demo/experiment.yaml").touch()
    assert builtin.find(Path("demo")) == Path("demo")
    Path("table1").write_text(TINY)
    assert builtin.find(Path("table1")) == Path("table1")


@pytest.mark.parametrize("command", ["compare", "optimizers", "parity", "train", "jobs status", "profile"])
def test_commands_take_a_name(command):
    arguments = ["--network", "varnet", "--engine", "bart"] if command == "train" else []
    finished = bart_tf_in_process(*command.split(), "no-such", *arguments)
    assert finished.returncode == 2
    assert "no-such: no such file, and no built-in experiment (found: barts, demo, " in finished.stderr


def test_jobs_of_a_name():
    finished = bart_tf_in_process("jobs", "status", "demo")
    assert finished.returncode == 0
    assert "varnet-bart" in finished.stdout


@pytest.mark.parametrize(("command", "name"), [("compare", "varnet_knee"), ("optimizers", "optimizers_modl_brain")])
def test_an_experiment_that_needs_data_says_how_to_go_on(command, name):
    finished = bart_tf_in_process(command, name)
    assert finished.returncode == 2
    assert f"{name}: it needs your data: 'bart-tf configs copy {name}'" in finished.stderr


def test_a_copy_is_never_overwritten(empty_folder):
    assert bart_tf_in_process("configs", "copy", "demo").returncode == 0
    copy = empty_folder / "configs" / "demo.yaml"
    assert load(copy) == load(ROOT / "configs" / "demo.yaml")
    copy.write_text("mine")
    finished = bart_tf_in_process("configs", "copy", "demo")
    assert (finished.returncode, copy.read_text()) == (2, "mine")
    assert f"{copy}: it exists already" in finished.stderr
    assert bart_tf_in_process("configs", "copy", "demo", "-o", "elsewhere").returncode == 0
    assert bart_tf_in_process("configs", "copy", "nothing").returncode == 2


def test_the_schema_is_printed():
    assert json.loads(bart_tf_in_process("configs", "schema").stdout)["title"] == "Experiment"
    assert json.loads(bart_tf_in_process("configs", "schema", "study").stdout)["title"] == "Study"


def test_the_version_is_shown():
    assert bart_tf_in_process("--version").stdout == f"bart-tf {bart_bridge.__version__}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("bart-tf co", {"compare", "configs"}),
        ("bart-tf compare mo", {"modl_brain"}),
        ("bart-tf jobs status radial", {"radial", "radial_demo"}),
        ("bart-tf configs copy de", {"demo"}),
        ("bart-tf compare demo --qu", {"--quiet"}),
        ("bart-tf import fa", {"fastmri", "fastmri-breast"}),
        ("bart-tf export n", {"nifti"}),
    ],
)
def test_the_shell_completes(line, expected):
    asked = {"_BART_TF_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    code = "import sys; sys.argv = ['bart-tf']; from compare.cli import main; main()"
    environment = os.environ | asked | {"PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert set(finished.stdout.split()) == expected, finished.stderr
