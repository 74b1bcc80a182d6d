"""Networks compute in full single precision on a GPU, however they come to be, and loading one changes no digit.

Double precision stays double.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from tests.helper import relative_difference
from tf_models.backend.devices import sees_gpu

NETWORKS = {
    "varnet": VarNetSettings(iterations=2, filters=3, kernel_x=5, kernel_y=3, basis=7),
    "modl": ModlSettings(iterations=2, layers=3, filters=8),
}
# Turns reduced precision on where it is not the default, so that a network that forgets to turn it off is seen.
FLAG = {
    "tensorflow": (
        "import tensorflow as tf",
        "tf.config.experimental.enable_tensor_float_32_execution(True)",
        "not tf.config.experimental.tensor_float_32_execution_enabled()",
    ),
    "jax": (
        "import jax",
        "jax.config.update('jax_default_matmul_precision', 'tensorfloat32')",
        "jax.config.jax_default_matmul_precision == 'highest'",
    ),
    "torch": (
        "import torch",
        "torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True",
        "not (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)",
    ),
}
WAYS = {
    "keras.saving": "import keras, tf_models.training.fit\nmodel = keras.saving.load_model({file!r}, compile=False)",
    "our own loading": "from tf_models.files import model_files\nmodel = model_files.load(pathlib.Path({file!r}))",
    "building": (
        "from bart_bridge.reconet import weights\nfrom tests.backends.test_precision import NETWORKS\n"
        "from tf_models.networks.build import build\n"
        "model = build(NETWORKS[{name!r}], weights.initial(NETWORKS[{name!r}], 0))"
    ),
    "the original MoDL": "from tf_models.networks.modl_original import MoDLOriginal\nmodel = MoDLOriginal()",
}


@pytest.fixture(params=FLAG)
def backend(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Each network as a `.keras` file, and as BART weights beside it."""
    from tf_models.networks.build import build

    folder = tmp_path_factory.mktemp("precision")
    for name, network in NETWORKS.items():
        values = weights.random(network, 0)
        weights.write(folder / name, network, values)
        build(network, values).save(folder / f"{name}.keras")
    return folder


def run(code, backend, **variables):
    environment = os.environ | {"KERAS_BACKEND": backend} | variables
    root = Path(__file__).resolve().parents[2]
    argv = [sys.executable, "-c", code]
    finished = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()[-1]


def test_every_way_to_a_network_turns_reduced_precision_off(backend, files):
    """The flag alone, for which no GPU is needed; it is turned on again before each way."""
    module, turn_on, is_off = FLAG[backend]
    code = ["import json, pathlib", module, "is_off = {}"]
    for way, make in WAYS.items():
        code += [turn_on, f"is_off[{way!r}] = [{is_off}]"]
        code += [make.format(file=str(files / "modl.keras"), name="modl"), f"is_off[{way!r}].append({is_off})"]
    found = json.loads(run("\n".join([*code, "print(json.dumps(is_off))"]), backend))
    assert found == {way: [False, True] for way in WAYS}


def test_double_precision_stays_double(backend):
    """Of the regularizers with their derivatives, whose sums have at least single precision, and of projections."""
    names = {"project_non_negative", "project_unit_ball", "project_zero_mean_unit_ball"}
    code = f"""
import keras
from keras import ops
from tf_models.backend import projections
from tf_models.backend.ops import vjp
from tf_models.kernels import field_of_experts, normalization, same_conv

def double(*shape):
    return ops.ones(shape, "float64")

image = double(1, 8, 9, 2)
found = [vjp(field_of_experts.field_of_experts, image, double(3, 3, 2, 4), double(5, 4))]
found.append(vjp(same_conv.same_conv, image, double(3, 3, 2, 4)))
found = [result for result, _ in found] + [part for result, product in found for part in product(result)]
found += normalization.batch_statistics(image)
found += [project(double(1, 3, 3, 1, 4, 2)) for name, project in vars(projections).items() if name in {names}]
print(*{{keras.backend.standardize_dtype(array.dtype) for array in found}})
"""
    assert run(code, backend, JAX_ENABLE_X64="1") == "float64"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loaded_network_computes_on_a_gpu_what_the_built_one_computes(name, files, tmp_path):
    """In a process each, so that one does not decide for the other."""
    backend = keras.backend.backend()
    if not sees_gpu():
        pytest.skip(f"{backend} sees no GPU")
    generator = np.random.default_rng(0)
    shapes = {"adjoint": (2, 64, 64, 2), "coils": (2, 3, 64, 64, 2)}
    inputs = {key: generator.normal(scale=0.5, size=shape).astype(np.float32) for key, shape in shapes.items()}
    np.savez(tmp_path / "inputs.npz", psf=np.ones((2, 64, 64), np.float32), **inputs)
    images = []
    for way in ("building", "our own loading"):
        make = WAYS[way].format(file=str(files / f"{name}.keras"), name=name)
        if way == "building":
            make += f"\nmodel.set_named_weights(weights.read({str(files / name)!r}, NETWORKS[{name!r}]))"
        predict = f"image = model.predict(dict(numpy.load({str(tmp_path / 'inputs.npz')!r})), verbose=0)"
        output = tmp_path / f"{way}.npy"
        run(
            "\n".join(["import numpy, pathlib", make, predict, f"numpy.save({str(output)!r}, image); print()"]), backend
        )
        images.append(np.load(output))
    # TF32 differs by 1e-5 and more; kernels may be chosen anew in each process.
    assert relative_difference(*images) < 1e-6
