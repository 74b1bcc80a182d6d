"""BART's clipping of gradients."""

import keras
import numpy as np
from keras import ops

from tests.helper import random_images
from tf_models.optimizers.bart_modifiers import clip_gradient


def test_a_gradient_below_the_norm_keeps_every_digit():
    gradient = random_images((1, 5, 5, 1, 4, 2))
    variable = keras.Variable(gradient, name="conv")
    for norm in (1e-1, 3e37):
        clipped = clip_gradient(ops.convert_to_tensor(gradient), variable, norm, None)
        np.testing.assert_array_equal(ops.convert_to_numpy(clipped), gradient)


def test_a_gradient_above_the_norm_has_that_norm():
    gradient = 1e3 * random_images((1, 5, 5, 1, 4, 2))
    variable = keras.Variable(gradient, name="conv")
    clipped = ops.convert_to_numpy(clip_gradient(ops.convert_to_tensor(gradient), variable, 0.1, None))
    length = np.sqrt(np.sum(clipped.ravel()[: gradient.size // 2] ** 2)) / gradient.size
    np.testing.assert_allclose(length, 0.1, rtol=1e-6)
    np.testing.assert_allclose(clipped / gradient, clipped.flat[0] / gradient.flat[0], rtol=1e-5)
