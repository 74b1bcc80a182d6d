"""MoDL of its authors: their checkpoints and images, their stopping rule, and three kinds of derivative."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from tests.helper import random_images, relative_difference, slow_but, to_complex, to_real
from tf_models.files import model_files, tf1_checkpoints
from tf_models.networks.modl_original import MoDLOriginal, conjugate_gradient, solve
from tf_models.operators.conjugate_gradient import solve_regularized
from tf_models.operators.sense import SenseNormal
from tf_models.training.network_inputs import network_inputs

PREFIXES = {1: "04Jun_0243pm_5L_1K_100E_AG/model-100", 10: "04Jun_0356pm_5L_10K_50E_AG/model-50"}
SMALL = {"iterations": 2, "layers": 3, "filters": 4}


@pytest.fixture(scope="module")
def published(shared):
    """The folder of the authors' checkpoints, and what makes a model of one of them."""
    folder = shared / "data" / "modl_pretrained"

    def model(iterations):
        path = folder / PREFIXES[iterations]
        return tf1_checkpoints.modl(path, tf1_checkpoints.read(path), iterations=iterations)

    return folder, model


def image(path):
    """A BART image as `(y, x)`."""
    return np.array(cfl.read(path)).squeeze().T


# On measured data too, the ten iterations are compared with those of the graph.
@pytest.mark.parametrize("iterations", slow_but(PREFIXES, 1))
def test_the_authors_weights_give_the_images_of_their_graph(published, iterations):
    folder, model = published
    case = folder / "case_256x232_12c"
    coils = np.array(cfl.read(case / "csm")).squeeze().transpose(2, 1, 0)
    mask = np.fft.fftshift(image(case / "mask").real)
    inputs = {"adjoint": to_real(image(case / "atb")[None]), "coils": to_real(coils[None]), "psf": mask[None] ** 2}
    found = to_complex(ops.convert_to_numpy(model(iterations)(inputs, training=False)))[0]
    assert relative_difference(found, image(case / f"expected_k{iterations}")) < 1e-5


def psnr(found, reference):
    return 20 * np.log10(np.abs(reference).max() / np.sqrt(np.mean(np.abs(found - reference) ** 2)))


@pytest.mark.parametrize("pattern", slow_but(["vd6", "eq4"], "vd6"))
def test_on_measured_data_the_authors_weights_beat_cg_sense(published, shared, tmp_path, pattern):
    """K = 10 on the scale that the weights are for; CG-SENSE with the best of a fine grid of lambda."""
    folder, model = published
    brain = shared / "data" / "real" / "brain_t1_8ch"
    reference = image(brain / "ref")
    scale = np.abs(reference).max()
    split = Split(brain / "kspace", brain / "sens", brain / f"pattern_{pattern}")
    cfl.write(tmp_path / "kspace", cfl.read(split.kspace) / scale)
    inputs = network_inputs(replace(split, kspace=tmp_path / "kspace"))
    found = scale * to_complex(ops.convert_to_numpy(model(10)(inputs, training=False)))[0]
    expected = image(folder / "expected_brain_t1_8ch" / f"{pattern}_modl_tf_k10")
    assert relative_difference(found, expected) < 1e-5

    normal = SenseNormal(ops.convert_to_tensor(inputs["coils"]), ops.convert_to_tensor(inputs["psf"]))
    baselines = [
        psnr(
            scale * to_complex(ops.convert_to_numpy(solve_regularized(normal, inputs["adjoint"], weight, 30)))[0],
            reference,
        )
        for weight in np.geomspace(1e-3, 0.3, 6, dtype=np.float32)
    ]
    # The best one is inside the grid.
    assert 0 < int(np.argmax(baselines)) < len(baselines) - 1
    assert psnr(found, reference) > max(baselines) + 2.5
    assert psnr(found, reference) > psnr(scale * to_complex(inputs["adjoint"])[0], reference) + 6.5


def test_number_of_parameters(published):
    model = published[1](1)
    trainable = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert (trainable, model.count_params() - trainable) == (113_413, 516)


def small_inputs(batch=2, size_y=12, size_x=10, coils=3):
    generator = np.random.default_rng(0)
    return {
        "adjoint": random_images((batch, size_y, size_x, 2), 1) / 2,
        "coils": random_images((batch, coils, size_y, size_x, 2), 2) / 2,
        "psf": (generator.uniform(size=(batch, size_y, size_x)) < 0.5).astype(np.float32),
    }


def small_model(dtype="float32", **settings):
    """Random weights of which none is 0, so that every part counts."""
    model = MoDLOriginal({**SMALL, **settings}, dtype=dtype)
    model.weighting.assign(0.5)
    generator = np.random.default_rng(3)
    for name, variable in model.named_variables().items():
        if "/BN/" in name:
            variable.assign(generator.uniform(0.5, 1.5, size=variable.shape))
        elif name.endswith("/W"):
            variable.assign(0.2 * generator.normal(size=variable.shape))
    return model


def numpy_steps(inputs, item, right, weight, tolerance):
    """The authors' conjugate gradients for one slice, written down again; returns the solution and its steps."""
    coils, psf = to_complex(inputs["coils"][item].astype(float)), np.fft.ifftshift(inputs["psf"][item])

    def operator(values):
        kspace = psf * np.fft.fft2(coils * values, norm="ortho")
        return np.sum(coils.conj() * np.fft.ifft2(kspace, norm="ortho"), axis=0) + weight * values

    solution, residual = np.zeros_like(right), right
    direction, energy, steps = right, np.vdot(right, right).real, 0
    while steps < 10 and energy > tolerance:
        applied = operator(direction)
        length = energy / np.vdot(direction, applied).real
        solution, residual = solution + length * direction, residual - length * applied
        energy, before = np.vdot(residual, residual).real, energy
        direction, steps = residual + energy / before * direction, steps + 1
    return solution, steps


def test_each_slice_stops_by_itself():
    inputs = small_inputs(batch=3)
    # Slices of very different energy: none, some and all of the ten steps.
    right = random_images((3, 12, 10, 2), 5) * np.array([1e-7, 5e-4, 1.0], np.float32)[:, None, None, None]
    normal = SenseNormal(ops.convert_to_tensor(inputs["coils"]), ops.convert_to_tensor(inputs["psf"]))
    found = to_complex(ops.convert_to_numpy(conjugate_gradient(normal, ops.convert_to_tensor(right), 0.3, 10, 1e-8)))
    expected, steps = zip(
        *[numpy_steps(inputs, item, to_complex(right)[item], 0.3, 1e-8) for item in range(3)], strict=True
    )
    assert steps[0] == 0
    assert 0 < steps[1] < 10
    assert steps[2] == 10
    assert not found[0].any()
    for item in (1, 2):
        assert relative_difference(found[item], expected[item]) < 1e-5


def gradients(model, inputs, factor=1.0):
    """Derivatives of a loss by every trained variable, by its name."""
    variables = {name: variable for name, variable in model.named_variables().items() if variable.trainable}
    target = random_images(inputs["adjoint"].shape, 9)
    with tf.GradientTape() as tape:
        loss = factor * tf.reduce_sum((model(inputs) - target) ** 2)
    return dict(
        zip(variables, [g.numpy() for g in tape.gradient(loss, [v.value for v in variables.values()])], strict=True)
    ), float(loss)


def double(inputs):
    return {name: values.astype(np.float64) for name, values in inputs.items()}


def test_implicit_derivative_is_the_unrolled_one_and_the_authors_leaves_lambda_out():
    """With enough steps and a tight tolerance; in double precision."""
    tight = {"max_cg_iterations": 50, "cg_tolerance": 1e-26}
    inputs = double(small_inputs(size_y=8, size_x=6, coils=2))
    found = {
        kind: gradients(small_model("float64", gradient=kind, **tight), inputs)[0]
        for kind in ("implicit", "unrolled", "modl_legacy")
    }
    for name, expected in found["unrolled"].items():
        assert relative_difference(found["implicit"][name], expected) < 1e-9, name
        if name != "Wts/lam1":
            assert relative_difference(found["modl_legacy"][name], expected) < 1e-9, name
    exact, legacy = found["unrolled"]["Wts/lam1"], found["modl_legacy"]["Wts/lam1"]
    assert abs(legacy - exact) > 0.1 * abs(exact)

    model, step = small_model("float64", **tight), 1e-5
    losses = []
    for shift in (step, -2 * step):
        model.weighting.assign_add(shift)
        losses.append(gradients(model, inputs)[1])
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(exact, rel=1e-6)


def test_a_small_gradient_does_not_meet_the_stopping_rule():
    """The authors' absolute tolerance makes small gradients vanish; the implicit derivative keeps them."""
    inputs, factor = double(small_inputs()), 1e-9
    name = "Wts/Layer1/W"
    for kind in ("implicit", "modl_legacy"):
        model = small_model("float64", gradient=kind)
        scaled, whole = gradients(model, inputs, factor)[0][name], gradients(model, inputs)[0][name]
        if kind == "implicit":
            np.testing.assert_allclose(scaled, factor * whole, rtol=1e-9)
        else:
            assert not scaled.any()


def test_the_right_hand_side_alone_is_differentiated_in_modl_legacy():
    inputs, weight = double(small_inputs()), tf.constant(0.3, tf.float64)
    normal = SenseNormal(tf.constant(inputs["coils"]), tf.constant(inputs["psf"]))
    right = tf.constant(inputs["adjoint"])
    network = small_model(gradient="modl_legacy").network
    with tf.GradientTape() as tape:
        tape.watch([right, weight])
        value = tf.reduce_sum(solve(normal, right, weight, network))
    by_right, by_weight = tape.gradient(value, [right, weight])
    assert float(by_weight) == 0
    assert np.abs(by_right.numpy()).max() > 0


def test_batch_norm_statistics_move_once_for_each_iteration():
    inputs = small_inputs()
    model = MoDLOriginal(SMALL)
    normal = SenseNormal(ops.convert_to_tensor(inputs["coils"]), ops.convert_to_tensor(inputs["psf"]))
    weight = float(model.weighting)
    # The images that both iterations start from, by a copy with the same weights.
    copy = MoDLOriginal(SMALL)
    copy.set_weights(model.get_weights())
    right = inputs["adjoint"] + weight * copy.regularize(inputs["adjoint"], training=True)
    images = [inputs["adjoint"], conjugate_gradient(normal, right, weight, 10, 1e-10)]
    means = [ops.convert_to_numpy(model.convolutions[0](image)).mean(axis=(0, 1, 2)) for image in images]
    model(inputs, training=True)
    found = ops.convert_to_numpy(model.norms[0].moving_mean)
    np.testing.assert_allclose(found, 0.99 * 0.01 * means[0] + 0.01 * means[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("gradient", slow_but(["implicit", "unrolled", "modl_legacy"], "modl_legacy"))
def test_training_and_saving(tmp_path, gradient):
    keras.utils.set_random_seed(0)
    inputs = small_inputs(batch=4)
    inputs["coils"] /= np.sqrt(np.sum(inputs["coils"] ** 2, axis=(1, -1), keepdims=True))
    target = random_images((4, 12, 10, 2), 1)
    normal = SenseNormal(ops.convert_to_tensor(inputs["coils"]), ops.convert_to_tensor(inputs["psf"]))
    inputs["adjoint"] = ops.convert_to_numpy(normal(ops.convert_to_tensor(target)))
    model = MoDLOriginal({**SMALL, "gradient": gradient})
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", jit_compile=False)
    losses = model.fit(inputs, target, batch_size=4, epochs=10, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0], losses
    assert float(model.weighting) != pytest.approx(0.05, abs=1e-6)

    model_files.save(model, tmp_path / "model.keras")
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]
    loaded = model_files.load(tmp_path / "model.keras")
    assert loaded.network == model.network
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0))


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="gradient"):
        MoDLOriginal({"gradient": "numeric"})


def test_damaged_checkpoints_are_refused(published, tmp_path):
    folder, _ = published
    source = folder / PREFIXES[1]
    data = source.with_name(f"{source.name}.data-00000-of-00001").read_bytes()
    index = source.with_name(f"{source.name}.index").read_bytes()

    def damaged(new_index, new_data):
        (tmp_path / "model.index").write_bytes(new_index)
        (tmp_path / "model.data-00000-of-00001").write_bytes(new_data)
        return tmp_path / "model"

    assert tf1_checkpoints.read(damaged(index, data)).keys() == tf1_checkpoints.read(source).keys()
    flipped = bytearray(data)
    flipped[1000] ^= 1
    for new_index, new_data in [(index, data[:5000]), (index, b""), (index[:300], data), (b"", data), (index, flipped)]:
        with pytest.raises(InputError, match="damaged checkpoint"):
            tf1_checkpoints.read(damaged(new_index, new_data))
    with pytest.raises(InputError, match=r"no TensorFlow checkpoint with this prefix.*model-100"):
        tf1_checkpoints.read(source.parent)
