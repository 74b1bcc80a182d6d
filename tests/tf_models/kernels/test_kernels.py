"""Each kernel against its definition, the fast ones of TensorFlow against the portable ones, in double precision."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.helper import dot, random_images
from tf_models.backend import ops as backend
from tf_models.kernels import field_of_experts, normalization
from tf_models.kernels import same_conv as convolutions
from tf_models.kernels.normalization import batch_statistics, normalize
from tf_models.kernels.same_conv import same_conv


@pytest.fixture(params=["portable", "fast"])
def kind(request, monkeypatch):
    """Both versions of what has two."""
    if request.param == "portable":
        for module in (backend, convolutions, field_of_experts, normalization):
            monkeypatch.setattr(module, "runs_on_tensorflow_cpu", lambda: False)
    return request.param


def doubles(shape, seed=0):
    return tf.constant(random_images(shape, seed), tf.float64)


@pytest.mark.parametrize("basis", [5, 31])
def test_activation_is_the_sum_of_gaussians(kind, basis):
    values, weights = doubles((2, 8, 9, 3)), doubles((basis, 3), 1)
    values = tf.concat([values, 5 * values], axis=1)  # far outside, too
    distance = (values[..., None, :] - np.linspace(-1, 1, basis)[:, None]) / (2 / basis)
    gaussians = np.exp(-0.5 * distance**2)
    expected = np.sum(weights * gaussians, axis=-2)
    expected_slope = np.sum(-weights * distance * gaussians, axis=-2) / (2 / basis)
    activated, slope = field_of_experts.radial_basis(values, weights)
    np.testing.assert_allclose(activated, expected, atol=1e-7)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-5 * basis)
    upstream = doubles(values.shape, 2)
    expected = np.einsum("byxjf,byxf->jf", gaussians, upstream)
    np.testing.assert_allclose(field_of_experts.radial_basis_gradient(values, upstream, basis), expected, atol=1e-5)


def test_filter_gradient_is_that_of_the_convolution(kind):
    image, features, kernel = doubles((2, 10, 11, 2)), doubles((2, 8, 7, 4), 1), doubles((3, 5, 2, 4), 2)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        value = tf.reduce_sum(ops.conv(image, kernel, padding="valid") * features)
    expected = tape.gradient(value, kernel)
    np.testing.assert_allclose(field_of_experts.filter_gradient(image, features, (3, 5)), expected, rtol=1e-10)


def test_spread_is_the_transposed_convolution():
    features, kernel, image = doubles((2, 9, 8, 4)), doubles((3, 2, 2, 4), 1), doubles((2, 7, 7, 2), 2)
    around = ops.pad(image, ((0, 0), (2, 2), (1, 1), (0, 0)))
    adjoint = ops.conv(around, kernel, padding="valid")
    assert dot(field_of_experts.spread(features, kernel), image) == pytest.approx(dot(features, adjoint), rel=1e-10)


@pytest.mark.parametrize("margins", [(0, 0), (2, 0), (3, 5)])
def test_mirror_and_its_adjoint(margins):
    image, padded = doubles((2, 5, 6, 2)), doubles((2, 5 + 2 * margins[0], 6 + 2 * margins[1], 2), 1)
    mirrored = field_of_experts.mirror(image, *margins)
    expected = np.pad(image, [(0, 0), *((margin, margin) for margin in margins), (0, 0)], mode="symmetric")
    np.testing.assert_array_equal(mirrored, expected)
    assert dot(mirrored, padded) == pytest.approx(
        dot(image, field_of_experts.mirror_adjoint(padded, *margins)), rel=1e-10
    )


def derivatives(function, *arguments, seed=9):
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        result = function(*arguments)
        value = tf.reduce_sum(result * doubles(result.shape, seed))
    return result, tape.gradient(value, arguments)


def assert_same(found, expected):
    for left, right in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("of_batch", [False, True])
def test_normalize_has_the_derivative_of_its_formula(kind, of_batch, rectify):
    def formula(features, bias):
        mean, variance = stored
        if of_batch:
            mean = tf.reduce_mean(features, (0, 1, 2))
            squares = tf.reduce_mean((features - mean) ** 2, (0, 1, 2))
            variance = squares[:2] + squares[2:]
        result = (features - mean) / tf.tile(tf.sqrt(variance + 1e-3), [2]) + bias
        return tf.nn.relu(result) if rectify else result

    def ours(features, bias):
        statistics = batch_statistics(features) if of_batch else stored
        return normalize(features, *statistics, bias=bias, rectify=rectify, of_batch=of_batch)

    stored = doubles((4,), 1), doubles((2,), 2) ** 2
    features, bias = doubles((3, 4, 5, 4), 3), doubles((4,), 4)
    assert_same(derivatives(ours, features, bias), derivatives(formula, features, bias))


@pytest.mark.parametrize("size", [(3, 3), (5, 1), (1, 3)])
@pytest.mark.parametrize("channels", [(4, 2), (2, 4), (4, 6), (6, 4)])
def test_convolution_of_the_same_size(kind, size, channels):
    features, kernel = doubles((2, 6, 7, channels[0])), doubles((*size, *channels), 1)
    expected = derivatives(lambda *a: ops.conv(*a, padding="same"), features, kernel)
    assert_same(derivatives(same_conv, features, kernel), expected)
