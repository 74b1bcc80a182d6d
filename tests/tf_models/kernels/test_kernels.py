"""Each kernel against its definition, in the version for TensorFlow on a CPU and in the portable one."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.helper import random_images
from tf_models.kernels import field_of_experts, padding
from tf_models.kernels.normalization import batch_statistics, normalize
from tf_models.kernels.same_conv import same_conv


def doubles(shape, seed=0):
    return tf.constant(random_images(shape, seed), tf.float64)


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("basis", [5, 31])
def test_activation_is_the_sum_of_gaussians(basis):
    values, weights = doubles((2, 8, 9, 3)), doubles((basis, 3), 1)
    values = tf.concat([values, 5 * values], axis=1)  # far outside, too
    distance = (values[..., None, :] - np.linspace(-1, 1, basis)[:, None]) / (2 / basis)
    gaussians = np.exp(-0.5 * distance**2)
    expected = np.sum(weights * gaussians, axis=-2)
    expected_slope = np.sum(-weights * distance * gaussians, axis=-2) / (2 / basis)
    activated, slope = field_of_experts.radial_basis(values, weights)
    np.testing.assert_allclose(activated, expected, atol=1e-7)
    upstream = doubles(values.shape, 2)
    found = field_of_experts.times_slope(upstream, values, weights, slope)
    np.testing.assert_allclose(found, upstream * expected_slope, atol=1e-5 * basis)
    expected = np.einsum("byxjf,byxf->jf", gaussians, upstream)
    np.testing.assert_allclose(field_of_experts.radial_basis_gradient(values, upstream, basis), expected, atol=1e-5)


@pytest.mark.parametrize("margins", [(0, 0), (2, 0), (3, 5)])
def test_mirror(margins):
    image = doubles((2, 5, 6, 2))
    mirrored = padding.pad_symmetric(image, *margins)
    expected = np.pad(image, [(0, 0), *((margin, margin) for margin in margins), (0, 0)], mode="symmetric")
    np.testing.assert_array_equal(mirrored, expected)


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("of_batch", [False, True])
def test_normalize_is_the_formula(of_batch, rectify):
    features, bias = doubles((3, 4, 5, 4), 3), doubles((4,), 4)
    mean, variance = doubles((4,), 1), doubles((2,), 2) ** 2
    if of_batch:
        mean = tf.reduce_mean(features, (0, 1, 2))
        squares = tf.reduce_mean((features - mean) ** 2, (0, 1, 2))
        variance = squares[:2] + squares[2:]
    expected = (features - mean) / tf.tile(tf.sqrt(variance + 1e-3), [2]) + bias
    statistics = batch_statistics(features) if of_batch else (mean, variance)
    found = normalize(features, *statistics, bias=bias, rectify=rectify, of_batch=of_batch)
    np.testing.assert_allclose(found, tf.nn.relu(expected) if rectify else expected, rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("size", [(3, 3), (5, 1), (1, 3)])
@pytest.mark.parametrize("channels", [(4, 2), (2, 4), (4, 6), (6, 4)])
def test_convolution_of_the_same_size(size, channels):
    features, kernel = doubles((2, 6, 7, channels[0])), doubles((*size, *channels), 1)
    expected = ops.conv(features, kernel, padding="same")
    np.testing.assert_allclose(same_conv(features, kernel), expected, rtol=1e-9, atol=1e-10)
