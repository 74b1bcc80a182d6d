import numpy as np
import pytest
from keras import ops

from bart_bridge.files.dims import from_batch_coil_yx
from tests.helper import random_images, to_complex
from tf_models.networks.losses import LOSSES

REFERENCE, IMAGE = random_images((3, 12, 15, 2), 1), random_images((3, 12, 15, 2), 2)
X, R = to_complex(IMAGE).astype(complex), to_complex(REFERENCE).astype(complex)
SLICE = (1, 2)

FORMULAS = {
    "mse": lambda: np.mean(np.abs(X - R) ** 2),
    "mse-magnitude": lambda: np.mean((np.abs(X) - np.abs(R)) ** 2),
    "mad": lambda: np.mean(np.abs((X - R).real) + np.abs((X - R).imag)),
    "mad-magnitude": lambda: np.mean(np.abs(np.abs(X) - np.abs(R))),
    "nmse": lambda: np.mean(np.sum(np.abs(X - R) ** 2, SLICE) / np.sum(np.abs(R) ** 2, SLICE)),
    "nmse-magnitude": lambda: np.mean(np.sum((np.abs(X) - np.abs(R)) ** 2, SLICE) / np.sum(np.abs(R) ** 2, SLICE)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    assert float(LOSSES[name](ops.array(REFERENCE), ops.array(IMAGE))) == pytest.approx(FORMULAS[name](), rel=1e-5)


def test_ssim_is_the_one_of_bart(toolbox):
    reference, image = (from_batch_coil_yx(to_complex(array)[:, None]) for array in (REFERENCE, IMAGE))
    expected = toolbox.compute("measure", "--ssim", reference, image).real.mean()
    found = 1 - float(LOSSES["ssim"](ops.array(REFERENCE), ops.array(IMAGE)))
    assert found == pytest.approx(expected, rel=1e-4)


def test_every_loss_of_the_settings_exists():
    from typing import get_args

    from bart_bridge.reconet.network_settings import Loss

    assert set(LOSSES) == set(get_args(Loss))


def test_a_perfect_image_costs_nothing():
    for loss in LOSSES.values():
        assert float(loss(ops.array(REFERENCE), ops.array(REFERENCE))) == pytest.approx(0, abs=1e-6)


def test_derivatives_are_finite_where_the_image_is_zero():
    import tensorflow as tf

    image = tf.Variable(tf.zeros_like(IMAGE))
    for name, loss in LOSSES.items():
        with tf.GradientTape() as tape:
            value = loss(REFERENCE, image)
        assert np.isfinite(tape.gradient(value, image).numpy()).all(), name
