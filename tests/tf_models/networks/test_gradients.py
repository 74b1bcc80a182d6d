"""Derivatives in double precision against finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from tests.helper import random_images, slow_but
from tf_models.networks.build import build
from tf_models.networks.losses import LOSSES
from tf_models.operators.sense import SenseNormal, solve_regularized

STEP = 1e-6
# Conjugate gradients that have converged: only then is the implicit derivative that of the steps taken.
SOLVED = {"max_cg_iterations": 40, "initial_lambda": 0.6}
VARNET = {"iterations": 2, "filters": 2, "kernel_x": 3, "kernel_y": 2, "basis": 5}
MODL = {"iterations": 2, "layers": 3, "filters": 2}
NETWORKS = {
    "varnet": VarNetSettings(**VARNET),
    "varnet, proximal mapping": VarNetSettings(**VARNET, data_consistency="proximal-mapping", **SOLVED),
    "modl": ModlSettings(**MODL, **SOLVED),
    "modl, gradient step": ModlSettings(**MODL, data_consistency="gradient-step", shared_weights=False),
    "varnet, own lambda of sense": VarNetSettings(
        **VARNET, sense_initialization={"initial_lambda": 0.6, "max_cg_iterations": 40}
    ),
    "modl, trained sense": ModlSettings(**MODL, sense_initialization={}, **SOLVED),
    "modl, own lambda of sense": ModlSettings(**MODL, sense_initialization={"initial_lambda": 0.9}, **SOLVED),
    "modl, unrolled": ModlSettings(**MODL, max_cg_iterations=3, cg_derivative="unrolled"),
}


def inputs(size=(8, 9)):
    double = {
        "adjoint": random_images((2, *size, 2), 0) / 2,
        "coils": random_images((2, 2, *size, 2), 1) / 2,
        "psf": np.random.default_rng(2).uniform(0.2, 1, size=(2, *size)),
    }
    return {name: tf.constant(values, tf.float64) for name, values in double.items()}


def assert_derivative(function, variable, gradient):
    """Compare the derivative along a random direction with a central difference."""
    direction = np.random.default_rng(3).normal(size=variable.shape)
    value = variable.numpy()
    differences = []
    for sign in (1, -1):
        variable.assign(value + sign * STEP * direction)
        differences.append(float(function()))
    variable.assign(value)
    expected = (differences[0] - differences[1]) / (2 * STEP)
    assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", slow_but(NETWORKS, "varnet", "varnet, proximal mapping", "modl"))
def test_every_weight(name):
    network, x, y = NETWORKS[name], inputs(), tf.constant(random_images((2, 8, 9, 2), 4), tf.float64)
    model = build(network, weights.random(network, 0), dtype="float64")

    def loss():
        return model.compute_loss(x, y, model(x, training=True))

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert_derivative(loss, variable.value, gradient)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(name):
    reference = tf.constant(random_images((2, 9, 10, 2), 1), tf.float64)
    image = tf.Variable(random_images((2, 9, 10, 2), 2).astype(np.float64))
    with tf.GradientTape() as tape:
        value = LOSSES[name](reference, image)
    assert_derivative(lambda: LOSSES[name](reference, image), image, tape.gradient(value, image))


def test_implicit_and_unrolled_derivatives_agree():
    x = inputs()
    normal = SenseNormal(x["coils"], x["psf"])
    right, weight = tf.Variable(x["adjoint"]), tf.Variable(0.5, dtype=tf.float64)
    gradients = {}
    for derivative in ("implicit", "unrolled"):
        with tf.GradientTape() as tape:
            solution = solve_regularized(normal, right, weight, 30, derivative)
            value = tf.reduce_sum(solution * random_images((2, 8, 9, 2), 5))
        gradients[derivative] = tape.gradient(value, [right, weight])
    for implicit, unrolled in zip(*gradients.values(), strict=True):
        np.testing.assert_allclose(implicit, unrolled, rtol=1e-7, atol=1e-10)


def test_conjugate_gradients_are_self_adjoint():
    x = inputs()
    normal = SenseNormal(x["coils"], x["psf"])
    u, v = (tf.constant(random_images((2, 8, 9, 2), seed), tf.float64) for seed in (6, 7))
    weight = tf.constant(0.3, tf.float64)
    left = tf.reduce_sum(solve_regularized(normal, u, weight, 40) * v)
    right = tf.reduce_sum(u * solve_regularized(normal, v, weight, 40))
    assert float(left) == pytest.approx(float(right), rel=1e-9)
