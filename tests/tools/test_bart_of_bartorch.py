"""BART 1.0.00 out of the Python package bartorch answers as Debian's does, with and without CUDA.

`make barts BARTS=pip` fetches it, `make gpu` the one with CUDA. Here both compute on the CPU.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import ToolError
from bart_bridge.files import multi_cfl
from bart_bridge.reconet.history import parse_progress
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process
from bart_bridge.tools.blas import blas_of
from bart_bridge.tools.toolbox import Toolbox
from compare import parity
from compare.settings.experiment import Experiment, TrainedNetwork
from tests.conftest import BARTS

pytestmark = pytest.mark.barts

VARNET = VarNetSettings(iterations=1, filters=2, kernel_x=3, kernel_y=3, basis=3)
MODL = ModlSettings(iterations=1, layers=3, filters=2)


@pytest.fixture(scope="module", params=["1.0.00-pip", "1.0.00-cuda"])
def pair(request):
    """The BART of bartorch and that of Debian."""
    try:
        return Toolbox.find(BARTS / request.param), Toolbox.find(BARTS / "1.0.00")
    except ToolError as error:
        pytest.skip(
            f"{error}: make barts BARTS=pip or, on a machine with a GPU, make gpu, and make barts, fetch the two"
        )


def test_it_is_known_as_what_it_is(pair):
    packaged, expected = pair
    assert packaged.version == expected.version == (1, 0, 0)
    assert packaged.package.startswith("bartorch 0.0.17")
    assert packaged.has_cuda == ("bartorch-cuda" in packaged.package) == (packaged.path.parent.name == "1.0.00-cuda")
    assert blas_of(packaged).endswith(f"of PyTorch {blas_of(packaged).split()[-1]}")
    assert expected.package == ""
    assert not packaged.missing("reconet", "measure", "pics", "nufft")


def test_a_start_does_not_import_pytorch(pair):
    """It takes seconds each time. The script is that of this checkout; the BART may have been fetched before it."""
    python = pair[0].path.parent / "venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("this BART has no environment of its own")
    script = Path(__file__).parents[2] / "tools" / "bartorch_as_bart.py"
    command = [python, "-I", "-X", "importtime", script, "bitmask", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"ctypes", "bartorch._lib"} <= imported
    assert not [name for name in imported if name.split(".")[0] == "torch"]


def test_tools_are_those_of_bart(pair):
    """`nufft` above all: the package puts FINUFFT in its place, which errs by 3e-3 and knows no older form."""
    generator = np.random.default_rng(0)
    image = generator.normal(size=(16, 16, 1)).astype(np.complex64)
    positions = np.zeros((3, 50, 1), np.complex64)
    positions[:2, :, 0] = generator.uniform(-7, 7, (2, 50))
    old_form = [toolbox.in_the_form_of((0, 8, 0)) for toolbox in pair]
    for toolboxes in (pair, old_form):
        packaged, expected = (toolbox.compute("nufft", positions, image) for toolbox in toolboxes)
        np.testing.assert_allclose(packaged, expected, atol=1e-6 * np.abs(expected).max())
        packaged, expected = (toolbox.compute("noise", "-s", 7, image) for toolbox in toolboxes)
        np.testing.assert_array_equal(packaged, expected)


def test_a_training_is_that_of_debians_build(pair, dataset_folder, tmp_path):
    slices = Dataset.open(dataset_folder).split("train")
    trained = []
    for number, toolbox in enumerate(pair):
        path = tmp_path / f"weights_{number}"
        options = ("--network=varnet", "--test", "--batch-size=2", "-Te=2", f"--pattern={slices.pattern}")
        argv = toolbox.argv("reconet", "--train", *options, slices.kspace, slices.coils, path, slices.reference)
        finished = process.run(argv, folder=tmp_path)
        assert finished.returncode == 0
        assert any(parse_progress(line) for line in finished.stderr)
        trained.append(np.concatenate([array.ravel() for array in multi_cfl.read(path)]))
    np.testing.assert_allclose(*trained, atol=1e-5)


@pytest.mark.parametrize("network", [VARNET, MODL], ids=["varnet", "modl"])
def test_it_agrees_with_keras(pair, dataset_folder, network):
    """In images to its own rounding. Six losses are too few to know it; their bound is that of the training above."""
    trained = TrainedNetwork(network=network, training=Training(batch_size=2, epochs=1, learning_rate=0.01))
    experiment = Experiment(name="parity", dataset={"folder": dataset_folder}, networks={"small": trained})
    stages = {stage.name: stage for stage in parity.stages(experiment, pair[0])}
    for name in ("adjoint", "image after 1"):
        assert stages[name].agrees, stages[name]
    assert stages["losses, initial weights"].difference < 1e-5


def test_an_error_ends_with_status_1_and_what_bart_says(pair, tmp_path):
    packaged, expected = (process.run(box.argv("show", tmp_path / "none"), folder=tmp_path) for box in pair)
    assert packaged.returncode == expected.returncode == 1
    assert any("none" in line for line in packaged.stderr)
