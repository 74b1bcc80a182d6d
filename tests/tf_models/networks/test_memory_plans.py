"""The lean plan computes what the plain one does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bart_bridge.data import noncartesian
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, SenseInitialization, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from tests.helper import random_images, slow_but
from tf_models.networks import checkpointed
from tf_models.networks.build import build
from tf_models.programs import process_report
from tf_models.training.batches import TrainingData
from tf_models.training.fit import Execution, train

VARNET = {"iterations": 3, "filters": 3, "kernel_x": 4, "kernel_y": 3, "basis": 7}
MODL = {"iterations": 3, "layers": 4, "filters": 3}
NETWORKS = {
    "varnet": VarNetSettings(**VARNET),
    "varnet, shared": VarNetSettings(**VARNET, shared_weights=True, shared_lambda=True),
    "varnet, proximal mapping": VarNetSettings(**VARNET, data_consistency="proximal-mapping"),
    "varnet, fixed lambda": VarNetSettings(**VARNET, fixed_lambda=0.3),
    "modl": ModlSettings(**MODL),
    "modl, nothing shared": ModlSettings(**MODL, shared_weights=False, shared_lambda=False),
    "modl, no batch norm": ModlSettings(**MODL, batch_norm=False, bias=False),
    "modl, no bias": ModlSettings(**MODL, bias=False),
    "modl, three layers": ModlSettings(iterations=3, layers=3, filters=3),
    "modl, gradient step": ModlSettings(**MODL, data_consistency="gradient-step"),
    "modl, trained sense": ModlSettings(**MODL, sense_initialization=SenseInitialization()),
    "varnet, own lambda of sense": VarNetSettings(**VARNET, sense_initialization={"initial_lambda": 0.3}),
    "modl, own lambda of sense": ModlSettings(**MODL, sense_initialization={"initial_lambda": 0.3}),
}
QUICK = ["varnet", "varnet, fixed lambda", "modl", "modl, trained sense"]
ON_RADIAL_DATA = ["varnet", "varnet, proximal mapping", "modl", "modl, no batch norm", "modl, trained sense"]
OF_TWO_MAPS = ["varnet", "varnet, proximal mapping", "modl", "modl, trained sense"]
SIZE = (9, 10)


def inputs(dtype, radial=False, maps=1):
    values = {
        "adjoint": random_images((5, *SIZE, 2 * maps), 0) / 2,
        "coils": random_images((5, 2, *SIZE, 2 * maps), 1) / 2,
        "psf": radial_psf() if radial else np.random.default_rng(2).uniform(0.2, 1, size=(5, *SIZE)),
    }
    return {name: tf.constant(array, dtype) for name, array in values.items()}


def radial_psf():
    """Toeplitz psf of finufft, `(5, 2y, 2x)`: each slice has other spokes and weights; the largest value is 1."""
    pytest.importorskip("finufft")
    generator, radius = np.random.default_rng(2), np.linspace(-0.5, 0.49, 12)
    psfs = []
    for _ in range(5):
        angle = generator.uniform(0, np.pi, size=(7, 1))
        positions = np.stack([SIZE[1] * radius * np.cos(angle), SIZE[0] * radius * np.sin(angle), 0 * angle * radius])
        psfs.append(noncartesian._psf(generator.uniform(0.5, 1.5, size=positions.shape[1:]), positions, SIZE))
    return np.stack(psfs) / np.max(psfs)


def loss_and_gradients(network, memory, dtype, radial=False, maps=1):
    """Compute without a graph, which takes longer to make than to run here; `test_training_is_the_same` has one."""
    model = build(network, weights.random(network, 0), dtype=dtype, memory=memory)
    x, y = inputs(dtype, radial, maps), tf.constant(random_images((5, *SIZE, 2 * maps), 4), dtype)

    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    return float(loss), np.concatenate([np.ravel(array) for array in gradients]), model


# Three slices of these sizes at a time, so that the last turn has fewer; and all at once.
@pytest.fixture(params=[300, pytest.param(10**6, marks=pytest.mark.slow)], ids=["in turns", "at once"])
def _turns(request, monkeypatch):
    monkeypatch.setattr(checkpointed, "_CPU_PIXELS", request.param)


@pytest.mark.usefixtures("_turns")
@pytest.mark.parametrize(
    ("name", "radial", "maps"),
    [
        *((name, False, 1) for name in QUICK),
        *(pytest.param(name, False, 1, marks=pytest.mark.slow) for name in NETWORKS if name not in QUICK),
        *(pytest.param(name, True, 1, marks=pytest.mark.slow) for name in ON_RADIAL_DATA),
        *(pytest.param(name, False, 2, marks=pytest.mark.slow) for name in OF_TWO_MAPS),
    ],
)
def test_both_plans_have_the_same_loss_gradients_and_statistics(name, radial, maps):
    plain, lean_plan = (
        loss_and_gradients(NETWORKS[name], memory, "float64", radial, maps) for memory in ("plain", "lean")
    )
    assert lean_plan[0] == pytest.approx(plain[0], rel=1e-12)
    np.testing.assert_allclose(lean_plan[1], plain[1], rtol=1e-8, atol=1e-8 * np.abs(plain[1]).max())
    for left, right in zip(lean_plan[2].variables, plain[2].variables, strict=True):
        if "batch_loss" not in right.path:
            np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12, err_msg=right.path)
    x = inputs("float64", radial, maps)
    images = [model(x, training=False) for *_, model in (plain, lean_plan)]
    np.testing.assert_allclose(*images, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["varnet", "modl"])
def test_single_precision(name):
    plain, lean_plan = (loss_and_gradients(NETWORKS[name], memory, "float32") for memory in ("plain", "lean"))
    assert lean_plan[0] == pytest.approx(plain[0], rel=1e-6)
    assert np.linalg.norm(lean_plan[1] - plain[1]) < 1e-4 * np.linalg.norm(plain[1])


# BART's `--lowmem` is trained beside Keras in programs/test_reconet.py, with MoDL too.
@pytest.mark.parametrize("name", slow_but(["varnet", "modl"], "varnet"))
def test_training_is_the_same(name):
    network, x = NETWORKS[name], {key: value.numpy() for key, value in inputs("float32").items()}
    y, initial = random_images((5, *SIZE, 2), 4), weights.random(network, 0)
    training = Training(learning_rate=0.01, epochs=4, batch_size=2)
    data, plans = TrainingData((x, y)), (Execution("plain"), Execution("lean"))
    losses = [train(network, training, data, initial, plan)[1][0]["loss"] for plan in plans]
    np.testing.assert_allclose(*losses, rtol={"varnet": 1e-5, "modl": 5e-5}[name])


def peak_bytes(network):
    """Peak of a training step on five slices of 64 x 64, by TensorFlow's own count, above what is there before it."""
    model = build(network, weights.random(network, 0), memory="lean")
    shapes = {"adjoint": (5, 64, 64, 2), "coils": (5, 2, 64, 64, 2), "psf": (5, 64, 64)}
    x = {name: tf.constant(random_images(shape, number) / 2) for number, (name, shape) in enumerate(shapes.items())}
    y = tf.constant(random_images((5, 64, 64, 2), 4))

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        return tape.gradient(loss, model.trainable_variables)

    step(x, y)
    tf.config.experimental.reset_memory_stats("CPU:0")
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    step(x, y)
    return tf.config.experimental.get_memory_info("CPU:0")["peak"] - before


@pytest.mark.parametrize("name", ["varnet", "modl, three layers"])
def test_an_iteration_keeps_at_most_two_images_of_a_slice(name):
    """The plain plan keeps 10 and more."""
    _, note = process_report.allocator_peak_bytes("cpu")
    if "oneDNN only" in note:
        pytest.skip(note)
    few, many = (peak_bytes(NETWORKS[name].model_copy(update={"iterations": count})) for count in (2, 12))
    assert many - few <= 2 * 10 * 5 * 64 * 64 * np.dtype(np.complex64).itemsize


def test_a_saved_model_keeps_its_plan(tmp_path):
    network = NETWORKS["varnet"]
    model = build(network, weights.random(network, 0), memory="lean")
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").memory == "lean"


@pytest.mark.parametrize(
    ("network", "memory", "message"),
    [
        (NETWORKS["varnet"], "tiny", "memory='tiny'"),
        (ModlSettings(**MODL, cg_derivative="unrolled"), "lean", "cg_derivative='implicit'"),
    ],
    ids=["plan", "derivative"],
)
def test_what_is_not_possible_is_refused(network, memory, message):
    with pytest.raises(ValueError, match=message):
        build(network, weights.random(network, 0), memory=memory)
