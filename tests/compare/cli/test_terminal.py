"""Only our own lines reach standard error, on every backend, and an error of a backend is one line."""

import importlib.util
import os
import re
import shlex
import shutil
import sys

import pytest
import typer

from bart_bridge.data.dataset import Dataset
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process
from compare import cli
from tests import foreign
from tests.compare.cli.command_lines import leaves
from tests.compare.conftest import bart_tf, bart_tf_in_process
from tests.helper import slow_but
from tf_models.programs.worker import TrainJob

NETWORK = VarNetSettings(iterations=1, filters=2, kernel_x=3, kernel_y=3, basis=3)
OPTIONS = commands.apply_options(NETWORK)[1:]
OURS = re.compile(
    r"""(
        \[\d+/\d+\]\ .*                                   # title of a step
      | step\ \d+\ of\ \d+,\ .*\ (left|unknown|time)        # of the whole experiment
      | live\ losses:\ .*
      | warning:\ BART\ .*:\ this\ is\ a\ slow\ build:\ .*  # on the reference BLAS
      | (dataset:\ )?(simulate|import|export)\ \d+\ slices?
      | [\w-]+:\ reconstruct
      | \ \ \ \ \d+\ of\ \d+(,\ loss\ [\d.e+-]+)?           # how far it is
      | \#\d+->\d+/\d+;\ loss:\ [\d.e+-]+;
      | \d+\ steps\ done,\ .* | nothing\ to\ do:\ .*     # what a command ends with
      | left\ out:\ .*:\ \d+                            # by an import
      | (source|train|validation|test|peak\ of\ k-space):\ .*   # what was imported
      | \w+\.h5\ has\ no\ mask:\ .* | import\ again:\ .*    # by an export
      | error:\ .*
    )$""",
    re.VERBOSE,
)
DATA = "{tmp}/data/test"
FILES = f"{DATA}/kspace {DATA}/coils {{tmp}}/weights"
# The arguments of every command. {tmp}/out has a copy of a finished experiment with the configuration {config}.
COMMANDS = {
    "apply": "{tmp}/out/runs/varnet-bart --dataset {tmp}/data -o {tmp}/applied",
    "compare": "{config} -o {tmp}/out",
    "configs copy": "demo -o {tmp}/configs",
    "configs schema": "study",
    "diff": "{tmp}/out {tmp}/out",
    "doctor": "",
    "export": "fastmri {tmp}/data {tmp}/exported",
    "import": "fastmri {tmp}/volume.h5 {tmp}/imported --coils ecalib\\ -r\\ 20 --split test=0",
    "inspect": "{tmp}/volume.h5",
    "jobs cancel": "{config} -o {tmp}/out",
    "jobs collect": "{config} -o {tmp}/out",
    "jobs resume": "{config} -o {tmp}/out --on local",
    "jobs status": "{config} -o {tmp}/out",
    "merge": "{tmp}/out {tmp}/other -o {tmp}/merged",
    "optimizers": None,  # `test_a_whole_study` reads it
    "parity": "{config}",
    "profile": "--from {tmp}/missing.sqlite -o {tmp}/profile",
    "reconet": f"--train -T adam,epochs=1 --pattern={DATA}/pattern {' '.join(OPTIONS)} {FILES} {DATA}/reference",
    "report": "{tmp}/out",
    "simulate": "{tmp}/simulated --size 16 --train 2 --validation 1 --test 1",
    "train": "{config} -o {tmp}/trained --network varnet --engine bart",
    "view": f"{DATA}/kspace {DATA}/coils -o {{tmp}}/view.html",
    "weights from-bart": f"{' '.join(OPTIONS)} {{tmp}}/weights {{tmp}}/new.keras",
    "weights from-tf1": "{tmp}/missing {tmp}/new.keras",
    "weights info": "{tmp}/out/runs/varnet-keras-tensorflow/weights.keras",
    "weights to-bart": "{tmp}/out/runs/varnet-keras-tensorflow/weights.keras {tmp}/new",
    "weights to-savedmodel": "{tmp}/out/runs/varnet-keras-tensorflow/weights.keras {tmp}/saved --x 16 --y 16",
}
REFUSED = ("profile", "weights from-tf1")
WITHOUT_BACKEND = ("configs copy", "configs schema", "diff", "doctor", "export", "import", "inspect", "profile")
WITHOUT_BACKEND += ("simulate", "train", "view")
# The other commands are slow and behave like one of these here; `test_parity` looks at the lines of its own command,
# and a comparison, whose lines are looked at below, trains with Keras and draws a report.
QUICK = (
    *(
        "apply",
        "configs copy",
        "configs schema",
        "diff",
        "doctor",
        "export",
        "import",
        "inspect",
        "jobs cancel",
        "jobs resume",
        "jobs status",
        "profile",
        "reconet",
    ),
    *("simulate", "train", "view", "weights info", "weights to-savedmodel"),
)


def require(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")


@pytest.fixture(scope="module")
def place(tiny, tiny_config, dataset_folder, tmp_path_factory):
    """A folder with the files that the commands read."""
    folder = tmp_path_factory.mktemp("terminal")
    for name in ("out", "other"):
        shutil.copytree(tiny[0], folder / name)
    shutil.copytree(dataset_folder, folder / "data")
    weights.write(folder / "weights", NETWORK, weights.random(NETWORK, 0))
    foreign.write_fastmri(foreign.make_truth(), folder / "volume.h5")
    return {"tmp": folder, "config": tiny_config}


def test_no_command_is_missing():
    assert sorted(COMMANDS) == sorted(leaves(typer.main.get_command(cli.app)))


def run_in_process(place, name):
    """Run a command that never imports a backend, whose libraries could write past `sys.stderr`."""
    return bart_tf_in_process(*name.split(), *shlex.split(COMMANDS[name].format(**place)))


def run(place, name, **environment):
    """Run a command without TF_CPP_MIN_LOG_LEVEL, as on a user's machine."""
    variables = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    return bart_tf(*name.split(), *shlex.split(COMMANDS[name].format(**place)), env=variables | environment)


def foreign_lines(stderr):
    return [line for line in stderr.splitlines() if not OURS.match(line)]


@pytest.mark.parametrize("name", slow_but([name for name in COMMANDS if COMMANDS[name] is not None], *QUICK))
def test_every_line_is_ours(place, name):
    finished = (run_in_process if name in WITHOUT_BACKEND else run)(place, name)
    assert finished.returncode == (2 if name in REFUSED else 0), finished.stderr
    assert foreign_lines(finished.stderr) == []
    assert ("error: " in finished.stderr) == (name in REFUSED)


@pytest.mark.parametrize("name", ["parity", "reconet", "weights from-bart", "weights info"])
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_every_line_is_ours_on_other_backends(place, name, backend):
    require(backend)
    finished = run(place, name, KERAS_BACKEND=backend)
    assert finished.returncode == 0, finished.stderr
    assert foreign_lines(finished.stderr) == []


def test_the_default_algorithm_of_varnet_trains_on_jax(place):
    require("jax")
    command = shlex.split(COMMANDS["reconet"].replace("-T adam,", "-T ipalm,").format(**place))
    finished = bart_tf("reconet", "--bart-version", "1.0", *command, env=os.environ | {"KERAS_BACKEND": "jax"})
    assert finished.returncode == 0, finished.stderr
    assert foreign_lines(finished.stderr) == []


def test_every_line_of_a_comparison_is_ours(tiny):
    assert foreign_lines(tiny[1].stderr) == []


@pytest.fixture(params=["tensorflow", "jax", "torch"])
def worker(request, place, tmp_path):
    """Run a training in a child as a Keras engine does, with some variables of its environment changed."""
    require(request.param)
    data = Dataset.open(place["tmp"] / "data")
    job = TrainJob(
        network=NETWORK,
        training=Training(epochs=1, batch_size=2),
        split=data.split("train"),
        initial=place["tmp"] / "weights",
        output=tmp_path / "trained.keras",
        histories=[tmp_path / "history.npz"],
    )
    (tmp_path / "job.json").write_text(job.model_dump_json())

    def train(**environment):
        argv = [sys.executable, "-m", "tf_models.programs.worker", str(tmp_path / "job.json")]
        environment = {"KERAS_BACKEND": request.param, **environment}
        return process.run(["env", "-u", "TF_CPP_MIN_LOG_LEVEL", *argv], folder=tmp_path, environment=environment)

    return train


def test_a_child_writes_no_lines_that_are_not_ours(worker):
    finished = worker(CUDA_VISIBLE_DEVICES="-1")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ()


@pytest.mark.parametrize("name", ["parity", "reconet", "weights info"])
def test_a_backend_that_cannot_be_imported_is_an_error_in_one_line(place, name):
    finished = run(place, name, KERAS_BACKEND="caffe")
    assert finished.returncode == 1
    assert finished.stderr == (
        "error: Keras with the backend caffe cannot be imported: Unable to import backend : caffe\n"
    )


def test_a_child_reports_the_reason(worker):
    finished = worker(KERAS_BACKEND="caffe")
    assert finished.returncode == 1
    assert finished.stderr == ("Keras with the backend caffe cannot be imported: Unable to import backend : caffe",)
