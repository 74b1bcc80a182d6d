"""Products of pairs of halves, for TensorFlow on a GPU, as XLA compiles them for the CPU of the tests."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.helper import random_array, relative_difference
from tf_models.backend import exporting, ops, xla
from tf_models.kernels import field_of_experts, same_conv, tensorflow_gpu, tensorflow_support

# Of the norm; single precision has 2e-7.
TOLERANCE = 1e-6


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Let everything be as it is for TensorFlow on a GPU with tensor cores."""
    for module in (ops, field_of_experts, same_conv):
        monkeypatch.setattr(module, "runs_on_tensorflow_cpu", lambda: False)
    monkeypatch.setattr(tensorflow_support, "has_tensorflow_tensor_cores", lambda: True)


def within_xla(function):
    """Let a function be traced as a part of what XLA compiles."""

    def traced(*arguments):
        with xla.compiling():
            return function(*arguments)

    return traced


def compiled(function, *arrays):
    result = tf.function(within_xla(function), jit_compile=True, autograph=False)(*arrays)
    return tf.nest.map_structure(np.asarray, result)


def operations(function, *arrays):
    """The kinds of all operations that a function becomes, with those of its loops."""
    graph = tf.function(function, autograph=False).get_concrete_function(*arrays).graph.as_graph_def()
    inner = [node for each in graph.library.function for node in each.node_def]
    return {node.op for node in [*graph.node, *inner]}


def randoms(*shapes):
    return [random_array(shape, number, "float32") for number, shape in enumerate(shapes)]


def doubles(*arrays):
    return [np.asarray(array, np.float64) for array in arrays]


def conv(array, kernel):
    """A convolution in double precision."""
    return tf.nn.conv2d(*doubles(array, kernel), 1, "VALID").numpy()


def kernel_gradient(array, upstream, size):
    shape = (*size, array.shape[-1], upstream.shape[-1])
    with tf.GradientTape() as tape:
        kernel = tf.zeros(shape, tf.float64)
        tape.watch(kernel)
        result = tf.nn.conv2d(tf.constant(array, tf.float64), kernel, 1, "VALID")
    return tape.gradient(result, kernel, tf.constant(upstream, tf.float64)).numpy()


@pytest.mark.parametrize(
    ("size", "image"), [((11, 11), (11, 11)), ((5, 7), (16, 13)), ((6, 5), (31, 20)), ((7, 1), (12, 9))]
)
def test_convolutions(size, image):
    features = (image[0] - size[0] + 1, image[1] - size[1] + 1)
    images, kernel, upstream = randoms((3, *image, 2), (*size, 2, 5), (3, *features, 5))
    padded = np.pad(upstream, [(0, 0), *((each - 1,) * 2 for each in size), (0, 0)])

    def all_three(images, kernel, upstream, padded):
        return (
            field_of_experts.conv_valid(images, kernel),
            field_of_experts.transposed_conv_valid(padded, kernel),
            field_of_experts.filter_gradient(images, upstream, size),
        )

    result, transposed, gradient = compiled(all_three, *map(tf.constant, (images, kernel, upstream, padded)))
    adjoint = kernel[::-1, ::-1].swapaxes(2, 3)
    assert relative_difference(result, conv(images, kernel)) < TOLERANCE
    assert relative_difference(transposed, conv(padded, adjoint)) < TOLERANCE
    assert relative_difference(gradient, kernel_gradient(images, upstream, size)) < TOLERANCE


def test_long_sums_are_sums_of_blocks():
    image, upstream = randoms((2, 80, 84, 2), (2, 76, 80, 3))
    patches = tensorflow_gpu._in_blocks(tf.zeros((2, 76, 80, 3)))
    assert patches.shape[0] > 2
    assert patches.shape[1] <= tensorflow_gpu._LONGEST_SUM
    found = compiled(lambda *arrays: tensorflow_gpu.filter_gradient(*arrays, (5, 5)), image, upstream)
    assert relative_difference(found, kernel_gradient(image, upstream, (5, 5))) < TOLERANCE


@pytest.mark.parametrize(("left", "right"), [(1e-20, 1e-13), (1e20, 1e17), (1e36, 1e-30), (1e-30, 1e30), (0, 1)])
def test_magnitudes(left, right):
    images, kernel = randoms((1, 12, 12, 2), (5, 5, 2, 3))
    images, kernel = np.float32(left) * images, np.float32(right) * kernel
    found = compiled(tensorflow_gpu.conv_valid, images, kernel)
    expected = conv(images, kernel)
    assert np.linalg.norm(doubles(found)[0] - expected) <= TOLERANCE * np.linalg.norm(expected)


def test_small_numbers_beside_large_ones():
    """A pixel has the digits of a far larger one down to 2^-39 of this."""
    images, kernel = randoms((1, 12, 40, 2), (5, 5, 2, 3))
    images[:, :, 20:] *= 1e-4
    found = compiled(tensorflow_gpu.conv_valid, images, kernel)
    assert relative_difference(found[:, :, 20:], conv(images, kernel)[:, :, 20:]) < TOLERANCE


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_seen_and_stays_where_it_is(value):
    images, kernel = randoms((2, 20, 20, 2), (5, 5, 2, 3))
    broken = images.copy()
    broken[0, 2, 2, 1] = value
    found = compiled(tensorflow_gpu.conv_valid, broken, kernel)
    expected = conv(images, kernel)
    assert np.isnan(found[0, :3, :3]).all()
    assert relative_difference(found[1], expected[1]) < TOLERANCE
    assert relative_difference(found[0, 8:, 8:], expected[0, 8:, 8:]) < TOLERANCE


def parts():
    """A function for each part of the regularizers, its arguments, and whether halves compute it."""
    image, features = tf.ones((1, 16, 16, 2)), tf.ones((1, 12, 12, 4))
    return {
        "images": (field_of_experts.conv_valid, (image, tf.ones((5, 5, 2, 4))), True),
        "columns": (field_of_experts.transposed_conv_valid, (features, tf.ones((5, 5, 2, 4))), True),
        "filters": (lambda *arrays: field_of_experts.filter_gradient(*arrays, (5, 5)), (image, features), True),
        "small filters": (lambda *arrays: field_of_experts.filter_gradient(*arrays, (3, 5)), (image, features), False),
        "MoDL's": (same_conv.same_conv, (features, tf.ones((3, 3, 4, 4))), False),
    }


@pytest.mark.parametrize("part", parts())
def test_only_single_precision_within_xla_on_a_gpu(part, monkeypatch):
    function, arrays, expected = parts()[part]

    def exported(*arrays):
        with xla.compiling(), exporting.exporting():
            return function(*arrays)

    assert ("XlaDotV2" in operations(within_xla(function), *arrays)) == expected
    assert "XlaDotV2" not in operations(function, *arrays)
    assert "XlaDotV2" not in operations(exported, *arrays)
    for dtype in ("float16", "float64"):
        assert "XlaDotV2" not in operations(within_xla(function), *(tf.cast(array, dtype) for array in arrays))
    with xla.compiling():  # an eager call
        assert not tensorflow_support.multiplies_halves(*arrays)
    monkeypatch.setattr(tensorflow_support, "has_tensorflow_tensor_cores", lambda: False)
    assert "XlaDotV2" not in operations(within_xla(function), *arrays)


def test_any_number_of_slices():
    """A network that is traced for any batch is compiled for the one that comes."""
    images, kernel = randoms((3, 12, 12, 2), (5, 5, 2, 4))
    function = tf.function(within_xla(field_of_experts.conv_valid), jit_compile=True, autograph=False)
    function = function.get_concrete_function(tf.TensorSpec((None, 12, 12, 2)), tf.TensorSpec(kernel.shape))
    assert "XlaDotV2" in {node.op for node in function.graph.as_graph_def().node}
    found = function(tf.constant(images), tf.constant(kernel))
    assert relative_difference(found, conv(images, kernel)) < TOLERANCE


def test_a_tensorflow_without_these_operations_is_named_in_one_line(monkeypatch, capfd):
    """They are no part of what TensorFlow documents."""
    monkeypatch.setitem(sys.modules, "tf_models.kernels.tensorflow_gpu", None)
    monkeypatch.delattr("tf_models.kernels.tensorflow_gpu", raising=False)
    tensorflow_support._has_operations_of_xla.cache_clear()
    array = tf.zeros((2, 8, 8, 2))
    try:
        assert not tf.function(within_xla(lambda: tensorflow_support.multiplies_halves(array)), autograph=False)()
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("TensorFlow does not show operations of XLA here; VarNet runs without, more slowly (")
    finally:
        tensorflow_support._has_operations_of_xla.cache_clear()
