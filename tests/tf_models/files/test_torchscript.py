"""TorchScript for BART: PyTorch gives the images and gradients of TensorFlow; skipped without PyTorch."""

import os
import subprocess
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pytest

from bart_bridge.errors import InputError
from tests.compare.conftest import bart_tf
from tests.helper import random_array, relative_difference
from tests.tf_models.files.conftest import COILS, SIZE_X, SIZE_Y, network
from tf_models.files import bart_savedmodel, model_files, operators, torchscript

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is compared with TensorFlow")
# As BART's wrapper does: complex tensors, and the gradient by each input.
RUN = """
import sys
import numpy as np
import torch

function = torch.jit.load(sys.argv[1])
with np.load("inputs.npz") as arrays:
    *inputs, upstream = [torch.view_as_complex(torch.tensor(arrays[name])) for name in sorted(arrays)]
inputs = [values.requires_grad_() for values in inputs]
result = function(*inputs)
gradients = torch.autograd.grad(result, inputs, upstream)
np.savez("outputs.npz", *[torch.view_as_real(values.detach()).numpy() for values in (result, *gradients)])
assert not {"tf_models", "bart_bridge", "compare", "keras"} & set(sys.modules)
"""


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize(
    ("name", "options"),
    [("varnet", f"--coils {COILS}"), ("modl, unrolled", f"--coils {COILS}"), ("modl", "--part regularizer")],
)
def test_image_and_gradients_are_those_of_tensorflow(name, options, tmp_path):
    model = network(name)
    model_files.save(model, tmp_path / "model.keras")
    arguments = f"--for bart-pytorch --x {SIZE_X} --y {SIZE_Y} {options}".split()
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    said = bart_tf(
        "weights", "to-savedmodel", tmp_path / "model.keras", tmp_path / "saved.pt", *arguments, env=environment
    )
    assert "nlop_pytorch_create" in said.stdout, said.stderr

    operator = operators.whole_network(model, SIZE_Y, SIZE_X, COILS)
    if "regularizer" in options:
        operator = operators.regularizer(model, SIZE_Y, SIZE_X, model.network.iterations - 1)
    inputs = operator.random_inputs()
    upstream = random_array(inputs[0].shape, 1, "float32")
    expected = bart_savedmodel.traced(operator)(*inputs, upstream)
    named = {f"input_{number}": array for number, array in enumerate((*inputs, upstream))}
    np.savez(tmp_path / "inputs.npz", **named)
    subprocess.run([sys.executable, "-I", "-c", RUN, "saved.pt"], cwd=tmp_path, check=True)
    with np.load(tmp_path / "outputs.npz") as arrays:
        image, *gradients = arrays.values()
    assert relative_difference(image, expected["output_0"]) < 1e-5
    for number, gradient in enumerate(gradients):
        assert relative_difference(gradient, expected[f"grad_{number}_0"]) < 1e-4


def test_other_backends_are_refused(tmp_path):
    operator = operators.whole_network(network("varnet"), SIZE_Y, SIZE_X, COILS)
    with pytest.raises(InputError, match="TorchScript needs torch, found tensorflow"):
        torchscript.export(operator, tmp_path / "saved.pt")
