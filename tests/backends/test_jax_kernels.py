"""What JAX has of its own, against double precision; on a CPU, where TF32 is single precision."""

import numpy as np
import pytest

from tests.helper import relative_difference

jax = pytest.importorskip("jax", reason="jax is not installed")


@pytest.mark.parametrize("size", [(3, 3), (5, 1)])
def test_three_convolutions_are_one_in_single_precision(size):
    from tf_models.kernels import jax_gpu

    generator = np.random.default_rng(0)
    features = generator.normal(size=(2, 9, 8, 6)).astype(np.float32)
    kernel = generator.normal(size=(*size, 6, 4)).astype(np.float32)
    half_y, half_x = size[0] // 2, size[1] // 2
    around = np.pad(features.astype(np.float64), ((0, 0), (half_y, half_y), (half_x, half_x), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(around, size, axis=(1, 2))
    expected = np.einsum("byxcij,ijcf->byxf", windows, kernel)
    assert relative_difference(jax_gpu.same_conv(features, kernel), expected) < 5e-7


def test_a_number_is_split_into_parts_of_11_bits():
    from tf_models.kernels import jax_gpu

    numbers = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    high, low = (np.asarray(part) for part in jax_gpu._split(numbers))
    for part in (high, low):
        assert np.all(part.view(np.uint32) % 2**13 == 0)
    assert np.all(np.abs(high.astype(np.float64) + low - numbers) <= np.abs(numbers) * 2.0**-22)
