"""Fourier transforms, Cartesian and not, are linear and have the adjoints that they are used with."""

import numpy as np
import pytest

from bart_bridge.data import noncartesian
from bart_bridge.data.fourier import centred_fft, centred_ifft
from tests.helper import check_adjoint, check_linear


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (7, 5)])
def test_centred_fft(size):
    """In single precision, as files are."""
    shape = (3, *size)
    check_linear(centred_fft, shape, "complex64", tolerance=1e-6)
    check_adjoint(centred_fft, centred_ifft, shape, shape, "complex64", tolerance=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (7, 5)])
def test_nufft(size):
    pytest.importorskip("finufft")
    trajectory = (
        np.random.default_rng(0).uniform(-0.5, 0.5, size=(3, 4, 11)) * np.array([*size[::-1], 1])[:, None, None]
    )
    check_linear(lambda images: noncartesian.forward(images, trajectory), (3, *size), "complex128", tolerance=1e-9)
    check_adjoint(
        lambda images: noncartesian.forward(images, trajectory),
        lambda samples: noncartesian._adjoint(samples, trajectory, size),
        (3, *size),
        (3, 4, 11),
        "complex128",
        tolerance=1e-9,
    )
