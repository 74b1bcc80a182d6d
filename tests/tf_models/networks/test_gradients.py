"""The derivative of the loss by every weight of a network, in double precision against finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from tests.helper import check_gradient, random_images, slow_but, with_weights
from tf_models.networks.build import build

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


@pytest.mark.parametrize("name", slow_but(NETWORKS, "varnet", "modl"))
def test_every_weight(name):
    network, x, y = NETWORKS[name], inputs(), tf.constant(random_images((2, 8, 9, 2), 4), tf.float64)
    model = build(network, weights.random(network, 0), dtype="float64")
    values = [variable.numpy() for variable in model.trainable_variables]
    check_gradient(with_weights(model, lambda: model.compute_loss(x, y, model(x, training=True))), *values)
