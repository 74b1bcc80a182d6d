"""Property tests that every operator and layer can be put through."""

import numpy as np
import pytest
from keras import ops

from bart_bridge.files import cfl


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


def dot(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    return float(np.sum(a * b))


def assert_self_adjoint(operator, shape):
    """Check <u, A v> = <A u, v>, inner products over real and imaginary parts."""
    u, v = random_images(shape, 1), random_images(shape, 2)
    left, right = dot(u, ops.convert_to_numpy(operator(v))), dot(ops.convert_to_numpy(operator(u)), v)
    assert abs(left - right) <= 1e-5 * np.linalg.norm(u) * np.linalg.norm(v)


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
