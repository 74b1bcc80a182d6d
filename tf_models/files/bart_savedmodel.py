"""Export of our networks as a TensorFlow SavedModel that `bart tensorflow` and `bart pics -R TF` run.

BART's conventions are those of its `doc/tensorflow.txt`: inputs `input_i`, results `output_o`, and for derivatives the
gradients by results `grad_ys_o` and by inputs `grad_i_o`; the file `bart_config.dat` says which tensors these are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from bart_bridge.files import atomic
from tf_models.backend.exporting import exporting
from tf_models.backend.ops import Tensor
from tf_models.files import savedmodel
from tf_models.files.operators import Operator, Shape

# BART asks for this signature.
SIGNATURE = "serving_default"
CONFIG = "bart_config.dat"


def export(operator: Operator, folder: Path) -> float:
    """Write an operator, with constant weights and its derivative by each input, as a SavedModel for BART.

    `bart tensorflow FOLDER INPUT... OUTPUT` takes arrays of BART with their 16 dimensions. Dimension 15 has any number
    of slices, which `-b` gives. The derivative is that of the Keras model, see `cg_derivative` of its settings.

    The folder has no variables, because BART's wrapper finds none that are restored from a file, and no custom
    gradients, because their captured tensors cannot be stored: the derivative is part of the graph. All tensors have
    static shapes but for slices, so that BART finds the axis of real and imaginary part.

    Args:
        operator: From `tf_models.files.operators`.
        folder: Folder to create; it must not exist.

    Returns:
        Relative l2 difference between what the reloaded operator and Keras compute, on random data.

    Raises:
        InputError: The folder exists, or Keras does not run on TensorFlow.
        ToolError: The reloaded operator fails, or gives results that differ by more than 1e-5.
    """
    import tensorflow as tf

    savedmodel.check_target(folder)
    module = tf.Module()
    module.function = traced(operator)
    shapes = {**_inputs(operator), "grad_ys_0": operator.output_shape}
    specifications = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()]
    signatures = {SIGNATURE: module.function.get_concrete_function(*specifications)}
    with atomic.new_folder(folder) as unfinished:
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(unfinished), signatures, options)
        (unfinished / CONFIG).write_text(_config(unfinished))
        inputs = operator.random_inputs()
        expected = np.asarray(operator.function(*inputs))
        named = {**dict(zip(_inputs(operator), inputs, strict=True)), "grad_ys_0": np.zeros_like(expected)}
        return savedmodel.compare_reloaded(unfinished, (SIGNATURE, "output_0"), named, expected)


def traced(operator: Operator) -> Any:
    """Return an operator and its derivative as a TensorFlow function of inputs and `grad_ys_0`."""
    import tensorflow as tf

    values = [(variable, np.asarray(variable)) for variable in operator.model.variables]

    @tf.function(autograph=False)
    def serve(*arguments: Tensor) -> dict[str, Tensor]:
        *inputs, upstream = arguments
        constants = [(variable, tf.constant(array)) for variable, array in values]
        with exporting(), keras.StatelessScope(state_mapping=constants), tf.GradientTape() as tape:
            tape.watch(inputs)
            output = operator.function(*inputs)
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(output, inputs, upstream, unconnected_gradients=zero)
        results = {"output_0": tf.ensure_shape(output, operator.output_shape)}
        for number, (gradient, shape) in enumerate(zip(gradients, operator.input_shapes, strict=True)):
            results[f"grad_{number}_0"] = tf.ensure_shape(gradient, shape)
        return results

    return serve


def _inputs(operator: Operator) -> dict[str, Shape]:
    return {f"input_{number}": shape for number, shape in enumerate(operator.input_shapes)}


def _config(folder: Path) -> str:
    """Return the text of `bart_config.dat`: a line for each argument, with its operation and its index among these."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def[SIGNATURE]
    lines = ["# ArgumentNameMapping", SIGNATURE]
    for tensors in (signature.inputs, signature.outputs):
        for name in sorted(tensors):
            operation, index = tensors[name].name.split(":")
            lines.append(f"{name} {operation} {index}")
    return "\n".join(lines) + "\n"
