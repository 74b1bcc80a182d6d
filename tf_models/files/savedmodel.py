"""Export of our networks as a TensorFlow SavedModel, which runs without our code."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files import atomic
from bart_bridge.reconet.image_size import check_image_size
from tf_models.backend.ops import Tensor
from tf_models.files import reloading
from tf_models.files.model_files import Model
from tf_models.networks.unrolled import UnrolledNetwork

SIGNATURE = "reconstruct"
_RELOAD = """
import sys
import numpy as np
import tensorflow as tf

tf.config.experimental.enable_tensor_float_32_execution(False)  # our networks never compute with it
folder, signature, output = sys.argv[1:]
function = tf.saved_model.load(folder).signatures[signature]
with np.load("inputs.npz") as arrays:
    inputs = {name: tf.constant(values) for name, values in arrays.items()}
np.save("output.npy", function(**inputs)[output].numpy())
"""


def export(model: Model, folder: Path, size_y: int, size_x: int) -> float:
    """Write a network as a SavedModel with the signature `reconstruct`, and check it in a process without our code.

        reconstruct = tf.saved_model.load(folder).signatures["reconstruct"]
        image = reconstruct(adjoint=..., coils=..., psf=...)["image"]

    The inputs are those of `tf_models.training.network_inputs.network_inputs`, float32: `adjoint (batch, y, x, 2)`,
    `coils (batch, coil, y, x, 2)` and `psf (batch, y, x)`, for any number of slices and coils. `image` is `(batch, y,
    x, 2)`. A SavedModel cannot store the precision with which a GPU multiplies: call
    `tf.config.experimental.enable_tensor_float_32_execution(False)` before using it, as our networks do.

    Args:
        model: The network; it is stored for inference.
        folder: Folder to create; it must not exist.
        size_y: Pixels along y.
        size_x: Pixels along x.

    Returns:
        Relative l2 difference between the images of the reloaded network and of `model`, on random data.

    Raises:
        InputError: The folder exists, images are too small for the filters, or Keras does not run on TensorFlow.
        ToolError: The reloaded network fails, or its images differ by more than 1e-5.
    """
    import tensorflow as tf

    check_target(folder)
    if isinstance(model, UnrolledNetwork):
        check_image_size(model.network, size_y, size_x, "images")
    shapes: dict[str, tuple[int | None, ...]] = {
        "adjoint": (None, size_y, size_x, 2),
        "coils": (None, None, size_y, size_x, 2),
        "psf": (None, size_y, size_x),
    }
    specifications = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()}

    @tf.function(autograph=False)
    def reconstruct(adjoint: Tensor, coils: Tensor, psf: Tensor) -> dict[str, Tensor]:
        return {"image": model({"adjoint": adjoint, "coils": coils, "psf": psf}, training=False)}

    module = tf.Module()
    module.model, module.reconstruct = model, reconstruct
    signatures = {SIGNATURE: reconstruct.get_concrete_function(**specifications)}
    generator = np.random.default_rng(0)
    inputs = {
        "adjoint": generator.normal(scale=0.5, size=(2, size_y, size_x, 2)).astype(np.float32),
        "coils": generator.normal(scale=0.5, size=(2, 3, size_y, size_x, 2)).astype(np.float32),
        "psf": (generator.uniform(size=(2, size_y, size_x)) < 0.5).astype(np.float32),
    }
    with atomic.new_folder(folder) as unfinished:
        # Derivatives are not stored: they are Python.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(unfinished), signatures, options)
        return compare_reloaded(unfinished, (SIGNATURE, "image"), inputs, model.predict(inputs, verbose=0))


def check_target(folder: Path) -> None:
    """Check that a SavedModel can be written.

    Raises:
        InputError: The folder exists, or Keras does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(f"KERAS_BACKEND: a SavedModel needs tensorflow, found {keras.backend.backend()}")
    if folder.exists():
        raise InputError(f"{folder}: already exists; name a new folder or remove it")


def compare_reloaded(
    folder: Path, names: tuple[str, str], inputs: dict[str, NDArray[np.float32]], expected: NDArray[np.float32]
) -> float:
    """Reload a SavedModel in a process without our code, and compare what it computes.

    Args:
        folder: The SavedModel.
        names: Its signature, and the name of the result there.
        inputs: The inputs by their names there.
        expected: The result of Keras.

    Returns:
        Relative l2 difference of the results.

    Raises:
        ToolError: The reloaded network fails, or the results differ by more than 1e-5.
    """
    return reloading.compare("SavedModel", _RELOAD, [folder.absolute(), *names], inputs, expected)
