"""The lean plan with networks of two lines: x <- w_t x + d, and one that subtracts the mean of the batch."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helper import random_array
from tf_models.networks import checkpointed
from tf_models.networks.checkpointed import Iterations, unroll

COUNT, BATCH = 3, 5
IMAGE = (BATCH, 4, 6, 2)


def scale_and_add(image, weights, data, statistics):
    return weights[0] * image + data, []


def scale_and_add_backward(image, result, upstream, weights, data, statistics):
    return weights[0] * upstream, [tf.reduce_sum(image * upstream)]


def scale_and_center(image, weights, data, statistics):
    mean = tf.reduce_mean(image, (0, 1, 2)) if statistics is None else statistics[0][0]
    return weights[0] * (image - mean), [[mean, mean[:1]]]


def scale_and_center_backward(image, result, upstream, weights, data, statistics):
    centered = image - tf.reduce_mean(image, (0, 1, 2))
    grad = weights[0] * (upstream - tf.reduce_mean(upstream, (0, 1, 2)))
    return grad, [tf.reduce_sum(centered * upstream)]


def doubles(*shape, seed=0):
    return tf.constant(random_array(shape, seed))


def result_and_gradients(function, *arguments):
    """Of a loss that weights each pixel differently, computed in a graph."""

    @tf.function
    def compute():
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            result = function(*arguments)
            loss = tf.reduce_sum(result * doubles(*IMAGE, seed=9))
        return result, tape.gradient(loss, arguments)

    return compute()


def assert_equal(found, expected):
    for left, right in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12)


# Two slices at a time, so that the last chunk has one; one; and all.
@pytest.mark.parametrize("pixels", [2 * 4 * 6, 1, 10**6], ids=["chunks", "slices", "batch"])
@pytest.mark.parametrize("sets", [COUNT, 1], ids=["own weights", "shared weights"])
def test_the_derivative_is_that_of_the_loop(sets, pixels, monkeypatch):
    monkeypatch.setattr(checkpointed, "_CPU_PIXELS", pixels)
    data = doubles(*IMAGE, seed=1)

    def lean(image, weights):
        iterations = Iterations(COUNT, [weights], (data,), lambda data: data, scale_and_add, scale_and_add_backward, [])
        return unroll(iterations, image, training=True)[0]

    def loop(image, weights):
        for number in range(COUNT):
            image = weights[number % sets] * image + data
        return image

    arguments = doubles(*IMAGE), doubles(sets, seed=2)
    assert_equal(result_and_gradients(lean, *arguments), result_and_gradients(loop, *arguments))


@pytest.mark.parametrize("training", [True, False])
def test_statistics_are_those_of_the_batch_in_training_and_stored_ones_otherwise(training):
    stored = doubles(COUNT, 2, seed=3)
    iterations = Iterations(
        COUNT,
        [doubles(COUNT, seed=2)],
        (),
        lambda: None,
        scale_and_center,
        scale_and_center_backward,
        [[stored, stored[:, :1]]],
    )
    image = doubles(*IMAGE)
    result, statistics = unroll(iterations, image, training)
    means = []
    for number in range(COUNT):
        means.append(tf.reduce_mean(image, (0, 1, 2)) if training else stored[number])
        image = iterations.weights[0][number] * (image - means[-1])
    assert_equal(result, image)
    assert_equal(statistics, [[[mean, mean[:1]]] for mean in means] if training else [])


def test_the_derivative_goes_through_the_statistics_of_the_batch():
    stored = doubles(COUNT, 2, seed=3)

    def lean(image, weights):
        functions = scale_and_center, scale_and_center_backward
        iterations = Iterations(COUNT, [weights], (), lambda: None, *functions, [[stored, stored[:, :1]]])
        return unroll(iterations, image, training=True)[0]

    def loop(image, weights):
        for number in range(COUNT):
            image = weights[number] * (image - tf.reduce_mean(image, (0, 1, 2)))
        return image

    arguments = doubles(*IMAGE), doubles(COUNT, seed=2)
    found, expected = result_and_gradients(lean, *arguments), result_and_gradients(loop, *arguments)
    for left, right in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)
