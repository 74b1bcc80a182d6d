"""Properties that every operator, layer and loss can be checked for, and what else tests of all packages share.

An operator or a function takes and returns NumPy arrays or tensors. What it is checked with is in double precision and
random.
"""

import keras
import numpy as np
import pytest
from keras import ops

from bart_bridge.files import cfl
from tf_models.backend.ops import vjp


def random_images(shape, seed=0):
    """Random float32 numbers, the last axis real and imaginary part."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def to_real(array):
    """Turn complex numbers into a trailing axis of 2."""
    return np.stack([array.real, array.imag], axis=-1).astype(np.float32)


def to_complex(array):
    """Turn a trailing axis of 2 into complex numbers."""
    return (array[..., 0] + 1j * array[..., 1]).astype(np.complex64)


def random_complex(generator, *shape):
    """Random complex64 numbers, real and imaginary part of variance 1."""
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


def random_array(shape, seed, dtype="float64"):
    """Random numbers of a type, which may be complex."""
    generator, dtype = np.random.default_rng(seed), np.dtype(dtype)
    parts = [generator.normal(size=shape) for _ in range(1 + (dtype.kind == "c"))]
    return (parts[0] + 1j * parts[1] if len(parts) == 2 else parts[0]).astype(dtype)


def tensor(array):
    """Turn an array of real numbers into a tensor; leave complex ones, which are for functions of NumPy."""
    return array if np.iscomplexobj(array) else ops.convert_to_tensor(array)


def dot(a, b):
    """Inner product over all numbers, real parts if they are complex."""
    a, b = (np.asarray(ops.convert_to_numpy(array)) for array in (a, b))
    assert a.shape == b.shape
    return float(np.vdot(a, b).real)


def check_adjoint(operator, adjoint, domain_shape, range_shape, dtype="float64", tolerance=1e-12):
    """Check the shapes of A u and A^H v and <v, A u> = <A^H v, u>, relative to the norms of all four."""
    u, v = random_array(domain_shape, 1, dtype), random_array(range_shape, 2, dtype)
    forward, backward = (ops.convert_to_numpy(result) for result in (operator(tensor(u)), adjoint(tensor(v))))
    assert forward.shape == tuple(range_shape)
    assert backward.shape == tuple(domain_shape)
    scale = np.linalg.norm(v) * np.linalg.norm(forward) + np.linalg.norm(backward) * np.linalg.norm(u)
    assert scale > 0
    assert abs(dot(v, forward) - dot(backward, u)) <= tolerance * scale


def check_self_adjoint(operator, shape, tolerance=1e-12):
    """Check <v, A u> = <A v, u>."""
    check_adjoint(operator, operator, shape, shape, tolerance=tolerance)


def check_linear(operator, domain_shape, dtype="float64", tolerance=1e-12):
    """Check A(2 u - 3 v) = 2 A u - 3 A v."""
    u, v = random_array(domain_shape, 1, dtype), random_array(domain_shape, 2, dtype)
    combined, *parts = (ops.convert_to_numpy(operator(tensor(x))) for x in (2 * u - 3 * v, u, v))
    np.testing.assert_allclose(combined, 2 * parts[0] - 3 * parts[1], rtol=0, atol=tolerance * np.abs(combined).max())


def _differences(function, arguments, step=1e-6):
    """Yield a random direction for each argument and the derivative along it by a central difference."""
    for number, argument in enumerate(arguments):
        direction = random_array(argument.shape, 10 + number)
        sides = []
        for sign in (1, -1):
            moved = list(arguments)
            moved[number] = argument + sign * step * direction
            sides.append(np.asarray(ops.convert_to_numpy(function(*map(tensor, moved)))))
        yield direction, (sides[0] - sides[1]) / (2 * step)


def check_gradient(function, *arguments, tolerance=1e-5):
    """Check the vector-Jacobian product for each argument, inputs and weights alike, against finite differences.

    Args:
        function: Of tensors, to a tensor.
        arguments: Arrays in double precision.
        tolerance: Relative to the derivative; 1e-8 is always allowed.
    """
    value, product = vjp(function, *map(tensor, arguments))
    upstream = random_array(tuple(value.shape), 3)
    gradients = product(tensor(upstream))
    for argument, gradient, (direction, difference) in zip(
        arguments, gradients, _differences(function, arguments), strict=True
    ):
        assert tuple(gradient.shape) == np.shape(argument)
        assert dot(gradient, direction) == pytest.approx(dot(upstream, difference), rel=tolerance, abs=1e-8)


def check_forward_mode(function, *arguments, tolerance=1e-5):
    """Check the Jacobian-vector product for each argument against finite differences; PyTorch is passed over."""
    for number, (direction, difference) in enumerate(_differences(function, arguments)):

        def of_one(argument, number=number):
            return function(*map(tensor, arguments[:number]), argument, *map(tensor, arguments[number + 1 :]))

        found = _jvp(of_one, tensor(arguments[number]), tensor(direction))
        scale = max(np.abs(difference).max(), 1e-3)
        np.testing.assert_allclose(ops.convert_to_numpy(found), difference, rtol=0, atol=tolerance * scale)


def _jvp(function, argument, direction):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jvp(function, (argument,), (direction,))[1]
    import tensorflow as tf

    with tf.autodiff.ForwardAccumulator(argument, direction) as accumulator:
        value = function(argument)
    return accumulator.jvp(value, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def with_weights(layer, function):
    """Give a function that calls a layer the layer's trainable weights as further arguments, after its own."""
    variables = layer.trainable_variables

    def of_both(*values):
        arguments, weights = values[: -len(variables)], values[-len(variables) :]
        with keras.StatelessScope(state_mapping=list(zip(variables, weights, strict=True))):
            return function(*arguments)

    return of_both


def relative_difference(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def slow_but(cases, *quick):
    """Make parameters of cases that are alike: all but some are for `make test-all`."""
    missing = set(quick) - set(cases)
    assert not missing, missing
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]


def write_slices(folder, split, sizes):
    """Write the files of a split with its slices along dimensions 13, 14 and 15 of these sizes."""
    folder.mkdir(parents=True)
    for name, path in split.paths().items():
        array = cfl.read(path)
        cfl.write(folder / name, array.reshape((*array.shape[:13], *sizes), order="F"))
