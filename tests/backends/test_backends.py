"""Both networks on Keras's other backends: the images and losses of BART, the weights of TensorFlow.

Each backend computes in one child process of its own, whatever the backend of this one.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import cfl
from bart_bridge.files.dims import to_batch_coil_yx
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.history import read_history
from bart_bridge.tools import process
from tests.backends.compute import NETWORKS, TRAINING, start_of_admm
from tests.helper import relative_difference
from tests.tf_models.networks.test_networks import OPTION_TOLERANCE, TOLERANCE

# Norm of the difference by norm of the change. VarNet is smooth, measured: 1.3e-5. MoDL is not: where the input of a
# ReLU is 0 up to rounding, backends differ by what a whole pixel contributes; measured: 4e-4, 2e-2 with such a pixel.
UPDATE_TOLERANCE = {"varnet": 1e-4, "modl": 0.1}

pytestmark = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(scope="module", params=["jax", "torch"])
def backend(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def dataset(dataset_folder):
    return Dataset.open(dataset_folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the weights that all start from."""
    path = tmp_path_factory.mktemp("backends")
    for name, network in NETWORKS.items():
        weights.write(path / name, network, weights.random(network, 0))
    return path


@pytest.fixture(scope="module")
def results_of_tensorflow(folder, dataset_folder):
    return compute("tensorflow", folder, dataset_folder)


@pytest.fixture(scope="module")
def results(backend, folder, dataset_folder, results_of_tensorflow):
    return compute(backend, folder, dataset_folder)


def compute(backend, folder, dataset_folder):
    """Run compute.py with a backend; returns its arrays by name."""
    argv = [sys.executable, "-m", "tests.backends.compute", str(folder), str(dataset_folder)]
    environment = os.environ | {"KERAS_BACKEND": backend}
    root = Path(__file__).resolve().parents[2]
    finished = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return dict(np.load(folder / f"{backend}.npz"))


def part(results, prefix):
    """Those arrays whose names start with `prefix/`, by the rest of their names."""
    return {key.removeprefix(f"{prefix}/"): values for key, values in results.items() if key.startswith(f"{prefix}/")}


def test_images_are_those_of_bart(backend, name, results, folder, dataset, toolbox, tmp_path):
    network = NETWORKS[name]
    argv = commands.apply_argv(toolbox, network, dataset.split("test"), folder / name, tmp_path / "images")
    toolbox.run(*argv[1:])
    expected = to_batch_coil_yx(cfl.read(tmp_path / "images"))[:, 0]
    allowed = OPTION_TOLERANCE.get(name.replace("-", ", ", 1).replace("-", " "), TOLERANCE[network.kind])
    assert relative_difference(results[f"{name}/images"], expected) < allowed


def test_a_model_saved_under_tensorflow_gives_the_same_images(backend, name, results, results_of_tensorflow):
    found, expected = results[f"{name}/images of the saved model"], results_of_tensorflow[f"{name}/images"]
    assert relative_difference(found, expected) < TOLERANCE[NETWORKS[name].kind]
    np.testing.assert_array_equal(found, results[f"{name}/images"])


def test_training_follows_bart(backend, name, results, folder, dataset, toolbox, tmp_path):
    """The losses before and after an Adam step, and the lambdas after each of two."""
    network, trained, history = NETWORKS[name], tmp_path / "weights", tmp_path / "history"
    split = dataset.split("train")
    files = commands.TrainingFiles(split, trained, folder / name, history)
    argv = commands.train_argv(toolbox, network, TRAINING, 1, files)
    commands.check_trained(argv, process.run(argv, folder=tmp_path), network, trained, history)
    found, expected = part(results, f"{name}/history"), read_history(history, network)
    assert found["loss"].shape == (1, 2)
    for column in expected.keys() - {"seconds"}:
        np.testing.assert_allclose(found[column], expected[column], rtol=5e-5)


def test_training_moves_weights_as_under_tensorflow(backend, name, results, results_of_tensorflow):
    """Weights and batch norm statistics after two Adam steps, and Adam's moments."""
    network, bound = NETWORKS[name], UPDATE_TOLERANCE[NETWORKS[name].kind]
    found, expected = (part(values, f"{name}/weights") for values in (results, results_of_tensorflow))
    assert list(found) == list(expected) == [array.name for array in weights.layout(network)]
    for array, before in weights.random(network, 0).items():
        assert relative_difference(found[array] - before, expected[array] - before) < bound, array
    found, expected = (part(values, f"{name}/moments") for values in (results, results_of_tensorflow))
    assert list(found) == list(expected)
    for variable, moment in expected.items():
        assert relative_difference(found[variable], moment) < bound, variable


def test_losses_are_those_of_tensorflow(backend, name, results, results_of_tensorflow):
    """Before and after an Adam step."""
    found, expected = (values[f"{name}/history/loss"] for values in (results, results_of_tensorflow))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_lean_plan_trains_the_same(backend, name, results):
    network, bound = NETWORKS[name], UPDATE_TOLERANCE[NETWORKS[name].kind]
    np.testing.assert_allclose(results[f"{name}/lean loss"], results[f"{name}/history/loss"], rtol=5e-6)
    found, expected = (part(results, f"{name}/{kind}") for kind in ("lean weights", "weights"))
    for array, before in weights.random(network, 0).items():
        assert relative_difference(found[array] - before, expected[array] - before) < bound, array


def test_admm_is_that_of_tensorflow(backend, name, results, results_of_tensorflow):
    """Losses of w and residuals of three epochs, and the z that is handed over."""
    network, bound = NETWORKS[name], UPDATE_TOLERANCE[NETWORKS[name].kind]
    found, expected = (part(values, f"{name}/admm history") for values in (results, results_of_tensorflow))
    # |w - z| is a small difference of both, measured: 2e-4.
    of_residuals = max(bound, 1e-3)
    for column, tolerance in (("loss", 1e-5), ("primal_residual", of_residuals), ("dual_residual", of_residuals)):
        np.testing.assert_allclose(found[column], expected[column], rtol=tolerance, err_msg=column)
    assert np.isfinite(found["dual_residual"][:, -1]).all()
    found, expected = (part(values, f"{name}/admm weights") for values in (results, results_of_tensorflow))
    for array, before in start_of_admm(network).items():
        assert relative_difference(found[array] - before, expected[array] - before) < bound, array


@pytest.mark.parametrize("backend", ["torch"], indirect=True)
def test_torch_keeps_nothing_of_a_reconstruction(backend, name, results):
    """Its graph consists of objects that must not refer to each other in a circle."""
    assert results[f"{name}/tensors left"] == 0
