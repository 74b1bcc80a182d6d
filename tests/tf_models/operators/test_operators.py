import numpy as np
import pytest
from keras import ops

from bart_bridge.data.fourier import centred_fft, centred_ifft
from tests.helper import dot, random_images, relative_difference, to_complex
from tf_models.backend.channels import channels_to_complex
from tf_models.backend.complex_arrays import complex_multiply
from tf_models.operators.conjugate_gradient import conjugate_gradient, solve_regularized
from tf_models.operators.sense import SenseNormal

SIZES = [(8, 8), (9, 12), (7, 5)]
MAPS = pytest.mark.parametrize("maps", [1, 2, 3])


def sense(size, seed=0, maps=1):
    """A random normal operator and its parts: (operator, coils, psf)."""
    coils = random_images((2, 3, *size, 2 * maps), seed)
    psf = np.random.default_rng(seed).uniform(0, 1, size=(2, *size)).astype(np.float32)
    return SenseNormal(coils, psf), coils, psf


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("size", SIZES)
@MAPS
def test_normal_operator_is_the_formula(size, maps):
    operator, coils, psf = sense(size, maps=maps)
    image = random_images((2, *size, 2 * maps), 5)
    c = channels_to_complex(coils)
    kspace = centred_fft(np.sum(c * channels_to_complex(image)[:, :, None], axis=1))
    expected = np.sum(c.conj() * centred_ifft(psf[:, None] * kspace)[:, None], axis=2)
    assert relative_difference(channels_to_complex(ops.convert_to_numpy(operator(image))), expected) < 1e-6


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("axis", [1, 2])
def test_a_psf_that_is_constant_along_an_axis_needs_no_transform_along_it(size, axis):
    _, coils, psf = sense(size, maps=2)
    image = random_images((2, *size, 4), 5)
    line = np.take(psf, [0], axis=axis)
    expected = SenseNormal(coils, np.broadcast_to(line, psf.shape))(image)
    found = SenseNormal(coils, line)(image)
    assert found.shape == expected.shape
    assert relative_difference(ops.convert_to_numpy(found), ops.convert_to_numpy(expected)) < 5e-7


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("size", SIZES)
@MAPS
def test_normal_operator_is_positive_semidefinite(size, maps):
    operator, image = sense(size, maps=maps)[0], random_images((2, *size, 2 * maps), 3)
    assert dot(image, ops.convert_to_numpy(operator(image))) > 0


def test_complex_multiplication():
    a, b = random_images((4, 2), 0), random_images((4, 2), 1)
    for conjugate in (False, True):
        expected = (to_complex(a).conj() if conjugate else to_complex(a)) * to_complex(b)
        found = to_complex(ops.convert_to_numpy(complex_multiply(ops.array(a), ops.array(b), conjugate)))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_conjugate_gradients_solve():
    operator = sense((6, 6))[0]
    right = random_images((2, 6, 6, 2), 4)
    found = conjugate_gradient(lambda x: operator(x) + 0.5 * x, ops.array(right), 60)
    assert relative_difference(ops.convert_to_numpy(operator(found) + 0.5 * found), right) < 1e-5


def test_conjugate_gradients_solve_each_slice_on_its_own():
    operator, coils, psf = sense((6, 6))
    right = random_images((2, 6, 6, 2), 4)
    together = conjugate_gradient(lambda x: operator(x) + 0.1 * x, ops.array(right), 5)
    alone = SenseNormal(coils[1:], psf[1:])
    second = conjugate_gradient(lambda x: alone(x) + 0.1 * x, ops.array(right[1:]), 5)
    assert relative_difference(ops.convert_to_numpy(together)[1:], ops.convert_to_numpy(second)) < 1e-6


def test_a_zero_right_hand_side_stays_zero():
    operator = sense((6, 6))[0]
    found = ops.convert_to_numpy(conjugate_gradient(operator, ops.zeros((2, 6, 6, 2)), 10))
    assert not found.any()


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("derivative", ["implicit", "unrolled"])
def test_what_is_solved_has_the_weight(derivative):
    operator, *_ = sense((8, 9))
    image = random_images((2, 8, 9, 2), 5)
    right_hand_side = operator(image) + 0.6 * image
    solution = solve_regularized(operator, right_hand_side, ops.convert_to_tensor(0.6), 30, derivative)
    assert relative_difference(solution, image) < 1e-5
