"""A BART that is built with TensorFlow runs our SavedModels; without one these tests are skipped."""

import shutil

import keras
import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx, to_batch_coil_yx
from bart_bridge.tools import versions
from tests.helper import random_images, relative_difference, to_complex
from tests.tf_models.files.conftest import network
from tf_models.files import bart_savedmodel, operators
from tf_models.training.network_inputs import network_inputs

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="SavedModels need TensorFlow")
TOLERANCE = {"varnet": 1e-6, "modl": 1e-5}


@pytest.fixture(scope="module")
def inputs(bart_with_tensorflow, dataset_folder):
    return network_inputs(Dataset.open(dataset_folder).split("test"))


def as_files(folder, **arrays):
    """Write images `(batch, y, x, 2)` and coils `(batch, coil, y, x, 2)` for BART; return the paths."""
    for name, array in arrays.items():
        complex_array = to_complex(array)
        cfl.write(folder / name, from_batch_coil_yx(complex_array if array.ndim == 5 else complex_array[:, None]))
    return [folder / name for name in arrays]


def result_is_gradient(folder, number, target):
    """Copy an export and let BART take a gradient for its result, and the gradient by the result for another input."""
    shutil.copytree(folder, target)
    title, signature, *lines = (folder / bart_savedmodel.CONFIG).read_text().splitlines()
    named = dict(line.split(" ", 1) for line in lines)
    inputs = {name: tensor for name, tensor in named.items() if name.startswith("input")}
    inputs |= {f"input_{len(inputs)}": named["grad_ys_0"], "output_0": named[f"grad_{number}_0"]}
    lines = [" ".join(pair) for pair in inputs.items()]
    (target / bart_savedmodel.CONFIG).write_text("\n".join([title, signature, *lines]) + "\n")
    return target


@pytest.mark.parametrize("name", ["varnet", "modl"])
def test_bart_gives_the_image_and_gradient_of_keras(name, inputs, bart_with_tensorflow, tmp_path):
    import tensorflow as tf

    model = network(name)
    bart_savedmodel.export(operators.whole_network(model, 24, 24, 3), tmp_path / "saved")
    psf = np.stack([inputs["psf"], np.zeros_like(inputs["psf"])], axis=-1)
    upstream = random_images(inputs["adjoint"].shape)
    files = as_files(tmp_path, adjoint=inputs["adjoint"], coils=inputs["coils"], psf=psf, upstream=upstream)
    with tf.GradientTape() as tape:
        adjoint = tf.constant(inputs["adjoint"])
        tape.watch(adjoint)
        image = model({**inputs, "adjoint": adjoint})
    gradient = tape.gradient(image, adjoint, tf.constant(upstream))

    run = bart_with_tensorflow.run
    run("tensorflow", "-b", len(adjoint), tmp_path / "saved", *files[:3], tmp_path / "image")
    found = to_batch_coil_yx(cfl.read(tmp_path / "image"))[:, 0]
    assert relative_difference(found, to_complex(image.numpy())) < TOLERANCE[name]

    of_gradient = result_is_gradient(tmp_path / "saved", 0, tmp_path / "gradient")
    run("tensorflow", "-b", len(adjoint), of_gradient, *files, tmp_path / "gradients")
    found = to_batch_coil_yx(cfl.read(tmp_path / "gradients"))[:, 0]
    assert relative_difference(found, to_complex(gradient.numpy())) < TOLERANCE[name]


def test_pics_takes_a_step_of_the_prior(inputs, bart_with_tensorflow, tmp_path):
    """One step of IST with one coil and all samples, from their image: the prior's step, then one back to the data."""
    model, step, weight = network("modl"), 0.5, 3
    bart_savedmodel.export(operators.prior(model, 24, 24, 1), tmp_path / "prior")
    image = to_complex(inputs["adjoint"][:1])
    image /= np.abs(image).max()
    start, ones = from_batch_coil_yx(image[:, None]), np.ones((24, 24, 1, 1), np.complex64)
    kspace = bart_with_tensorflow.compute("fft", "-u", 3, start)
    regularization = f"TF:{{{tmp_path / 'prior'}}}:{weight}"
    options = ["-I", "-i", 1, "-s", step, "-w", 1, "-R", regularization]
    if bart_with_tensorflow.has(versions.L1_ENDS_WITH_THRESHOLD):
        options.append("--ist_last")
    cfl.write(tmp_path / "start", start)
    found = bart_with_tensorflow.compute("pics", *options, "-W", tmp_path / "start", kspace, ones)
    regularized = to_complex(np.asarray(model.regularizer(_channels(image), iteration=1)))
    after_prior = image - step * weight * (image - regularized)
    expected = after_prior + step * (image - after_prior)
    assert relative_difference(after_prior, image) > 0.1
    assert relative_difference(to_batch_coil_yx(found)[:, 0], expected) < 1e-5


def _channels(image):
    return np.stack([image.real, image.imag], axis=-1)
