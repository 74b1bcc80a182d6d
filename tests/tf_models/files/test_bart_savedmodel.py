"""SavedModels for BART: what is in the folder, what TensorFlow's C API computes with it, and its derivatives."""

import keras
import numpy as np
import pytest

from bart_bridge.errors import InputError
from tests.helper import random_array, relative_difference, slow_but
from tests.tf_models.files.conftest import COILS, SIZE_X, SIZE_Y, SLICES, network, run_by_c_api
from tf_models.files import bart_savedmodel, operators

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="SavedModels need TensorFlow")
ONES = (1,) * 11
IMAGE = (SLICES, *ONES, 1, 1, SIZE_Y, SIZE_X, 2)
CASES = slow_but(
    [
        ("varnet", "network"),
        ("varnet", "regularizer"),
        ("modl", "network"),
        ("modl", "regularizer"),
        ("modl", "prior"),
        ("original", "network"),
        ("original", "regularizer"),
    ],
    ("varnet", "network"),
    ("modl", "prior"),
)


def operator_of(model, part):
    if part == "network":
        return operators.whole_network(model, SIZE_Y, SIZE_X, COILS)
    return getattr(operators, part)(model, SIZE_Y, SIZE_X, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Export and run each case once: the network, its inputs and what the C API computes of them."""
    done = {}

    def export(name, part):
        if (name, part) not in done:
            place = tmp_path_factory.mktemp("exported")
            model = network(name)
            operator = operator_of(model, part)
            assert bart_savedmodel.export(operator, place / "saved") < 1e-6
            inputs = {f"input_{number}": array for number, array in enumerate(operator.random_inputs())}
            shape = tuple(size or SLICES for size in operator.output_shape)
            inputs["grad_ys_0"] = np.asarray(random_array(shape, 1, "float32"))
            (found,) = run_by_c_api(place / "saved", place, inputs)
            done[name, part] = model, inputs, found, place / "saved"
        return done[name, part]

    return export


def of_network(model, inputs):
    """Compute a network with Keras from the inputs of its export."""
    import tensorflow as tf

    adjoint, coils, psf = (tf.convert_to_tensor(inputs[f"input_{number}"]) for number in range(3))
    with tf.GradientTape() as tape:
        tape.watch(adjoint)
        image = model(
            {
                "adjoint": tf.reshape(adjoint, (-1, SIZE_Y, SIZE_X, 2)),
                "coils": tf.reshape(coils, (-1, COILS, SIZE_Y, SIZE_X, 2)),
                "psf": tf.reshape(psf, (-1, SIZE_Y, SIZE_X, 2))[..., 0],
            }
        )
    upstream = tf.reshape(inputs["grad_ys_0"], image.shape)
    return image.numpy().reshape(IMAGE), tape.gradient(image, adjoint, upstream).numpy()


@pytest.mark.parametrize("name", slow_but(["varnet", "modl", "original"], "varnet"))
def test_network_is_that_of_keras(name, exported):
    model, inputs, found, _ = exported(name, "network")
    image, gradient = of_network(model, inputs)
    assert relative_difference(found["output_0"], image) < 1e-6
    assert relative_difference(found["grad_0_0"], gradient) < 1e-5


@pytest.mark.parametrize("name", slow_but(["varnet", "modl"], "modl"))
def test_regularizer_is_that_of_keras_on_images_of_any_scale(name, exported):
    model, inputs, found, _ = exported(name, "regularizer")
    image = inputs["input_0"].reshape(SLICES, SIZE_Y, SIZE_X, 2)
    scale = np.sqrt(np.max(np.sum(image**2, axis=-1), axis=(1, 2)))[:, None, None, None]
    expected = np.asarray(model.regularizer(image / scale, iteration=1)) * scale
    assert relative_difference(found["output_0"], expected.reshape(IMAGE)) < 1e-6
    zero = operator_of(model, "regularizer").function(np.zeros(IMAGE, np.float32))
    assert np.all(np.isfinite(zero))


def test_regularizer_of_an_iteration_has_its_weights():
    model = network("varnet")
    images = operator_of(model, "regularizer").random_inputs()[0]
    first, second = (operators.regularizer(model, SIZE_Y, SIZE_X, t).function(images) for t in (0, 1))
    assert relative_difference(first, second) > 1e-3
    with pytest.raises(InputError, match="2 iterations, 0 to 1; there is no iteration 2"):
        operators.regularizer(model, SIZE_Y, SIZE_X, 2)


def test_prior_is_half_the_distance_to_the_regularized_image(exported):
    model, inputs, found, _ = exported("modl", "prior")
    image = inputs["input_0"].reshape(1, SIZE_Y, SIZE_X, 2)
    distance = image - np.asarray(model.regularizer(image, iteration=1))
    np.testing.assert_allclose(found["output_0"], [np.sum(distance**2) / 2, 0], rtol=1e-6)
    expected = inputs["grad_ys_0"][0] * distance
    assert relative_difference(found["grad_0_0"], expected.reshape(1, *IMAGE[1:])) < 1e-6


@pytest.mark.parametrize(
    "case",
    slow_but(
        [
            ("varnet", "network"),
            ("modl, unrolled", "network"),
            ("modl, many steps", "network"),
            *((name, "regularizer") for name in ("varnet", "modl", "original")),
        ],
        ("varnet", "network"),
        ("modl, unrolled", "network"),
        ("modl", "regularizer"),
    ),
)
def test_gradients_are_those_of_finite_differences(case, exported, tmp_path):
    """By each input, also by coils and psf, along a random direction; single precision allows no small step."""
    _, inputs, found, folder = exported(*case)
    step, directions, moved = 1e-3, [], []
    for number in range(3 if case[1] == "network" else 1):
        directions.append(random_array(inputs[f"input_{number}"].shape, 2 + number, "float32"))
        if number == 2:
            directions[2][..., 1] = 0  # the psf is real
        for side in (step, -step):
            moved.append({**inputs, f"input_{number}": inputs[f"input_{number}"] + side * directions[number]})
    results = [outputs["output_0"].astype(np.float64) for outputs in run_by_c_api(folder, tmp_path, *moved)]
    for number, direction in enumerate(directions):
        gradient = found[f"grad_{number}_0"]
        expected = np.vdot(inputs["grad_ys_0"], results[2 * number] - results[2 * number + 1]) / (2 * step)
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction)
        assert scale > 0
        assert abs(np.vdot(gradient, direction) - expected) < 3e-4 * scale, number


@pytest.mark.parametrize("case", CASES)
def test_folder_has_names_and_shapes_for_bart(case, exported):
    _, _, found, folder = exported(*case)
    part = case[1]
    batch = 1 if part == "prior" else -1
    image = [batch, *IMAGE[1:]]
    expected = {"input_0": image, "output_0": [2] if part == "prior" else image}
    if part == "network":
        expected |= {"input_1": [-1, *ONES, COILS, 1, SIZE_Y, SIZE_X, 2], "input_2": image}
    expected |= {name.replace("input", "grad") + "_0": shape for name, shape in expected.items() if "input" in name}
    expected["grad_ys_0"] = expected["output_0"]
    shapes = {name.removeprefix("shape of "): list(shape) for name, shape in found.items() if "shape of" in name}
    assert shapes == expected
    text = (folder / "bart_config.dat").read_bytes()
    # BART reads 4096 bytes, and 79 of a name.
    assert len(text) < 4096
    assert all(len(word) < 80 for word in text.split())
    assert b"VarHandleOp" not in (folder / "saved_model.pb").read_bytes()


def test_target_is_checked(tmp_path):
    operator = operator_of(network("varnet"), "network")
    with pytest.raises(InputError, match="already exists"):
        bart_savedmodel.export(operator, tmp_path)
    with pytest.raises(InputError, match="at least"):
        operators.whole_network(network("varnet"), 1, 1, COILS)
