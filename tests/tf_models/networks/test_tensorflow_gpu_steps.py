"""Training and inference with the products of `tensorflow_gpu`, which the CPU of the tests computes."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from tests.helper import random_images, slow_but
from tf_models.files import savedmodel
from tf_models.kernels import tensorflow_gpu, tensorflow_support
from tf_models.networks.build import build
from tf_models.optimizers.bart_modifiers import SGD
from tf_models.optimizers.ipalm import IPALM

SETTINGS = {
    "varnet": VarNetSettings(iterations=2, filters=3, kernel_x=5, kernel_y=6, basis=5),
    "modl": ModlSettings(iterations=2, layers=3, filters=2, max_cg_iterations=3),
}
FUNCTIONS = ("conv_valid", "filter_gradient")
BATCH, SIZE = 4, (12, 11)


@pytest.fixture(autouse=True)
def computed(monkeypatch):
    """Names of the functions of `tensorflow_gpu` that are traced, as if TensorFlow ran on a GPU with tensor cores."""
    for name, module in list(sys.modules.items()):
        if name.startswith("tf_models.") and hasattr(module, "runs_on_tensorflow_cpu"):
            monkeypatch.setattr(module, "runs_on_tensorflow_cpu", lambda: False)
    monkeypatch.setattr(tensorflow_support, "has_tensorflow_tensor_cores", lambda: True)
    names = set()

    def recording(name):
        function = getattr(tensorflow_gpu, name)

        def recorded(*arguments):
            names.add(name)
            return function(*arguments)

        return recorded

    for name in FUNCTIONS:
        monkeypatch.setattr(tensorflow_gpu, name, recording(name))
    return names


@pytest.fixture
def in_single_precision(computed, monkeypatch):
    """Let the next networks do without the functions."""

    def forbid():
        computed.clear()
        monkeypatch.setattr(tensorflow_support, "has_tensorflow_tensor_cores", lambda: False)

    return forbid


def inputs():
    return {
        "adjoint": random_images((BATCH, *SIZE, 2)) / 2,
        "coils": random_images((BATCH, 2, *SIZE, 2), 1) / 2,
        "psf": np.random.default_rng(2).uniform(0.2, 1, size=(BATCH, *SIZE)).astype(np.float32),
    }


def trained(kind, memory, optimizer, jit_compile=True):
    """The network after three steps, and their losses."""
    model = build(SETTINGS[kind], weights.random(SETTINGS[kind], 0), memory=memory)
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    history = model.fit(inputs(), random_images((BATCH, *SIZE, 2), 3), epochs=3, **options)
    return model, history.history["batch_loss"]


def images_of(model):
    return model.predict(inputs(), batch_size=BATCH, verbose=0)


@pytest.mark.parametrize("memory", slow_but(["plain", "lean"], "lean"))
def test_steps_are_those_of_single_precision(memory, computed, in_single_precision):
    model, losses = trained("varnet", memory, SGD(0.01))
    assert computed == set(FUNCTIONS)
    computed.clear()
    images = images_of(model)
    assert computed == {"conv_valid"}
    in_single_precision()
    model, expected_losses = trained("varnet", memory, SGD(0.01))
    expected_images = images_of(model)
    assert not computed
    np.testing.assert_allclose(losses, expected_losses, rtol=2e-6)
    np.testing.assert_allclose(images, expected_images, rtol=0, atol=1e-5 * np.abs(expected_images).max())


@pytest.mark.parametrize(("kind", "jit_compile"), [("varnet", False), ("modl", True)])
def test_networks_without_them(kind, jit_compile, computed):
    """What XLA does not compile, and MoDL, for which they do not pay."""
    _, losses = trained(kind, "plain", SGD(0.01), jit_compile=jit_compile)
    assert np.isfinite(losses).all()
    assert not computed


@pytest.mark.slow
def test_ipalm_has_them_where_xla_compiles_the_loss(computed, in_single_precision):
    _, losses = trained("varnet", "lean", IPALM(1e-2, preset="bart"))
    assert computed == set(FUNCTIONS)
    in_single_precision()
    _, expected = trained("varnet", "lean", IPALM(1e-2, preset="bart"))
    assert not computed
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_an_export_has_none_of_them(tmp_path, computed):
    model = build(SETTINGS["varnet"], weights.random(SETTINGS["varnet"], 0))
    model.compile(jit_compile=True)
    assert savedmodel.export(model, tmp_path / "saved", *SIZE) < 1e-5
    graph = tf.saved_model.load(str(tmp_path / "saved")).signatures[savedmodel.SIGNATURE].graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert nodes
    assert not [node.op for node in nodes if node.op.startswith("Xla")]
