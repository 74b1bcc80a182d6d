"""iPALM on JAX and PyTorch: the losses, weights and work of TensorFlow.

Each backend computes in one child process of its own.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.backends.ipalm_trainings import STEPS
from tf_models.optimizers.ipalm import COUNTS

# Of losses. In single precision, MoDL's conjugate gradients and batch norm leave 1.7e-6 between backends.
TOLERANCE = {"train": 1e-6, "varnet": 1e-6, "modl": 5e-6}
ROOT = Path(__file__).resolve().parents[2]
DATA_PARALLEL = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import keras
from tf_models.optimizers.ipalm import IPALM

variable = keras.Variable(1.0)
with keras.distribution.DataParallel().scope():
    IPALM().step(lambda: variable.value**2, [variable])
"""
PASSES = """
import keras
from tests.backends.ipalm_trainings import NETWORKS, data
from bart_bridge.reconet import weights
from tf_models.networks.build import build
from tf_models.optimizers.ipalm import IPALM

model, passes = build(NETWORKS["varnet"], weights.random(NETWORKS["varnet"], 0)), []
compute = model.regularizer.compute
model.regularizer.compute = lambda *arguments, **named: passes.append(1) or compute(*arguments, **named)
model.compile(optimizer=IPALM(preset="bart"))
for _ in range(3):
    model.train_on_batch(*data())
print(len(passes))
"""
# The objective does not depend on the first variable, and Keras's own training would not change the second.
INDEPENDENT = """
import keras
from tf_models.optimizers.ipalm import IPALM

variables = [keras.Variable(2.0, name="unused"), keras.Variable(2.0, name="frozen", trainable=False)]
optimizer = IPALM()
for _ in range(3):
    loss = optimizer.step(lambda: (variables[1].value - 3) ** 2, variables)
print(*(round(float(value), 4) for value in (loss, *variables)), variables[1].trainable)
"""


def run(*argv, backend):
    environment = os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.run(
        [sys.executable, *argv], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def compute(backend, folder):
    finished = run("-m", "tests.backends.ipalm_trainings", str(folder), backend=backend)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return dict(np.load(folder / f"{backend}.npz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ipalm")


@pytest.fixture(scope="module")
def of_tensorflow(folder):
    return compute("tensorflow", folder)


@pytest.fixture(scope="module", params=["jax", "torch"])
def results(request, folder):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return compute(request.param, folder)


@pytest.mark.parametrize("case", ["train", *STEPS])
def test_ipalm_is_that_of_tensorflow(case, results, of_tensorflow):
    """Losses, tries, weights, running statistics, step sizes; plans, presets, projections and a schedule in turn."""
    names = [name for name in of_tensorflow if name.startswith(f"{case}/")]
    assert names == [name for name in results if name.startswith(f"{case}/")]
    assert of_tensorflow[f"{case}/history/backtracks"][-1] > 0, "tries must be rejected"
    for name in names:
        found, expected = results[name], of_tensorflow[name]
        if name.split("/")[-1] in COUNTS:
            np.testing.assert_array_equal(found, expected, err_msg=name)
        elif name.endswith("loss"):
            np.testing.assert_allclose(found, expected, rtol=TOLERANCE[case.split()[0]], err_msg=name)
        else:
            assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max(), name


@pytest.mark.parametrize("case", STEPS)
def test_the_recorded_loss_is_that_of_the_weights(case, results):
    recorded, tolerance = results[f"{case}/history/batch_loss"][-1], TOLERANCE[case.split()[0]]
    assert recorded == pytest.approx(results[f"{case}/loss of the weights"], rel=tolerance)


def test_a_training_that_stopped_goes_on_as_if_it_had_not(results):
    assert results["resumed/updates"] == 3, "it stopped after 7 of 10"
    names = [name.removeprefix("train/") for name in results if name.startswith("train/")]
    for name in names:
        np.testing.assert_array_equal(results[f"resumed/{name}"], results[f"train/{name}"], err_msg=name)


def test_the_examples_hold(results):
    assert results["doctest/failed"] == 0
    assert results["doctest/attempted"] > 0


def test_jax_refuses_data_parallel_training_in_one_line():
    pytest.importorskip("jax")
    finished = run("-c", DATA_PARALLEL, backend="jax")
    expected = "ValueError: IPALM is not for data-parallel training. Received: 2 replicas"
    assert finished.stderr.splitlines()[-1] == expected


def test_jax_traces_the_network_once_for_the_losses_and_once_for_each_gradient():
    """Whatever the number of tries and updates; VarNet has three blocks."""
    pytest.importorskip("jax")
    finished = run("-c", PASSES, backend="jax")
    assert finished.stdout.splitlines()[-1:] == ["4"], finished.stderr[-3000:]


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_any_variable_can_be_a_block(backend):
    """Also one that the objective does not depend on, and one that is not trainable."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    finished = run("-c", INDEPENDENT, backend=backend)
    assert finished.stdout.splitlines()[-1:] == ["0.0015 2.0 3.0392 False"], finished.stderr[-3000:]
