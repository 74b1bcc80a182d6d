"""What JAX has of its own, against double precision; on a CPU, where TF32 is single precision."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.helper import relative_difference

jax = pytest.importorskip("jax", reason="jax is not installed")
needs_triton = pytest.mark.skipif(
    keras.backend.backend() != "jax"
    or jax.default_backend() != "gpu"
    or importlib.util.find_spec("jax_triton") is None,
    reason="needs JAX as Keras's backend, an NVIDIA GPU and jax-triton",
)


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


@needs_triton
@pytest.mark.parametrize(("size", "filters", "basis"), [((5, 3), 5, 7), ((11, 11), 24, 31)])
def test_triton_kernels_are_the_portable_field_of_experts(size, filters, basis, monkeypatch):
    """Image and all gradients; the size of the image is no multiple of what a program computes."""
    from tf_models.backend.precision import use_full_precision
    from tf_models.kernels import field_of_experts, triton_support

    use_full_precision()
    assert triton_support.runs_as_triton_kernels("float32", (*size, 2, filters), basis)
    generator = np.random.default_rng(0)
    shapes = [(2, 40, 45, 2), (*size, 2, filters), (basis, filters), (2, 40, 45, 2)]
    scales = [0.3, 1 / np.sqrt(2 * size[0] * size[1]), 1, 1]
    arrays = [
        scale * generator.normal(size=shape).astype(np.float32) for scale, shape in zip(scales, shapes, strict=True)
    ]

    def compute(*arrays):
        result, product = jax.vjp(field_of_experts.field_of_experts, *arrays[:3])
        return result, *product(arrays[3])

    fast = jax.jit(lambda *arrays: compute(*arrays))(*arrays)
    monkeypatch.setattr(field_of_experts, "runs_as_triton_kernels", lambda *_: False)
    portable = jax.jit(lambda *arrays: compute(*arrays))(*arrays)
    for found, expected in zip(fast, portable, strict=True):
        # Single precision, amplified by the activation.
        assert relative_difference(found, expected) < 5e-6


def test_kernels_that_do_not_compile_are_named_in_one_line(capsys):
    """Without a GPU, or without jax-triton."""
    from tf_models.kernels import triton_support

    if jax.default_backend() == "gpu":
        pytest.skip("they compile on a GPU")
    assert not triton_support._compiles((3, 3, 2, 4), 5)
    (line,) = capsys.readouterr().err.splitlines()
    assert "portable ones are used" in line


@pytest.mark.parametrize("size", [(3, 3), (5, 3), (11, 11)])
def test_the_trial_of_the_triton_kernels_computes_some_pixels_with_each(size, monkeypatch):
    from tf_models.kernels import experts_triton, triton_support

    if keras.backend.backend() != "jax":
        pytest.skip("needs JAX as Keras's backend")
    launched = set()

    def launch(kernel, arrays, numbers, results, grid, **constants):
        launched.add(kernel.removeprefix("triton_experts."))
        assert min(min(sizes) for sizes in (grid, *(result.shape for result in results))) > 0
        return [jax.numpy.zeros(result.shape, result.dtype) for result in results]

    monkeypatch.setattr(experts_triton, "launch", launch)
    for part in triton_support._experts((*size, 2, 24), 31):
        part()
    assert sorted(launched) == ["convolve_kernel", "filters_kernel", "rbf_kernel", "transposed_kernel"]


@pytest.mark.parametrize("scale", [1, 1e-30, 1e30])
def test_a_number_is_a_pair_of_halves(scale):
    from tf_models.kernels import jax_gpu

    numbers = (scale * np.random.default_rng(0).normal(size=(2, 5, 6, 3))).astype(np.float32)
    pairs = jax.jit(lambda numbers: jax_gpu.halves(numbers, (3, 5)))(numbers)
    assert str(pairs.high.dtype) == str(pairs.low.dtype) == "float16"
    found = (np.asarray(pairs.high, np.float64) + np.asarray(pairs.low, np.float64)) * float(pairs.unit)
    expected = np.pad(numbers, ((0, 0), (1, 1), (2, 2), (0, 0))).astype(np.float64)
    assert np.all(np.abs(found - expected) <= np.maximum(np.abs(expected) * 2.0**-22, np.max(expected) * 2.0**-39))
    assert np.frexp(float(pairs.unit))[0] == 0.5


def test_zeros_and_what_is_not_finite_stay_so_as_pairs_of_halves():
    from tf_models.kernels import jax_gpu

    zeros = np.zeros((1, 2, 2, 1), np.float32)
    pairs = jax_gpu.halves(zeros)
    assert not np.any(pairs.high)
    assert not np.any(pairs.low)
    assert np.isfinite(pairs.unit)
    zeros[0, 0, 0, 0] = np.nan
    assert np.isnan(jax_gpu.halves(zeros).high[0, 0, 0, 0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_leaves_the_other_numbers_as_they_are(wrong):
    """So a slice without an image does not spoil the others of its batch."""
    from tf_models.kernels import jax_gpu

    numbers = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    numbers[1, 2, 3, 1] = wrong
    high, low, unit = (np.asarray(part, np.float64) for part in jax_gpu.halves(numbers))
    restored, finite = (high + low) * unit, np.isfinite(numbers)
    np.testing.assert_array_equal(np.isfinite(restored), finite)
    np.testing.assert_allclose(restored[finite], numbers[finite], rtol=2.0**-20)


def test_the_smallest_numbers_are_pairs_of_halves():
    """Their scale would be more than the largest number."""
    from tf_models.kernels import jax_gpu

    numbers = (1e-36 * np.random.default_rng(0).uniform(1, 2, (1, 5, 6, 3))).astype(np.float32)
    high, low, unit = (np.asarray(part, np.float64) for part in jax_gpu.halves(numbers))
    assert np.all(np.abs((high + low) * unit - numbers) <= numbers * 2.0**-22)


@needs_triton
@pytest.mark.parametrize(("size", "scale"), [((3, 3), 1), ((3, 3), 1e-9), ((5, 1), 1)])
def test_triton_computes_a_convolution_and_its_derivative(size, scale):
    """With gradients as small as those of a mean over all pixels."""
    from tf_models.kernels import triton_support
    from tf_models.kernels.same_conv import same_conv

    assert triton_support.same_conv_runs_in_triton("float32", (2, 19, 23, 64), (*size, 64, 32))
    generator = np.random.default_rng(0)
    features, upstream = (generator.normal(size=(2, 19, 23, count)).astype(np.float32) for count in (64, 32))
    upstream *= np.float32(scale)
    kernel = generator.normal(size=(*size, 64, 32)).astype(np.float32)

    def windows(array):
        margins = ((0, 0), (size[0] // 2, size[0] // 2), (size[1] // 2, size[1] // 2), (0, 0))
        padded = np.pad(array.astype(np.float64), margins)
        return np.lib.stride_tricks.sliding_window_view(padded, size, axis=(1, 2))

    @jax.jit
    def compute(features, kernel, upstream):
        result, product = jax.vjp(same_conv, features, kernel)
        return result, *product(upstream)

    result, grad_features, grad_kernel = compute(features, kernel, upstream)
    assert relative_difference(result, np.einsum("byxcij,ijcf->byxf", windows(features), kernel)) < 5e-7
    expected = np.einsum("byxfij,ijcf->byxc", windows(upstream), kernel[::-1, ::-1])
    assert relative_difference(grad_features / scale, expected / scale) < 5e-7
    expected = np.einsum("byxcij,byxf->ijcf", windows(features), upstream.astype(np.float64))
    assert relative_difference(grad_kernel / scale, expected / scale) < 5e-7


@needs_triton
@pytest.mark.parametrize("rectify", [True, False])
def test_triton_sums_what_batch_normalisation_needs(rectify, monkeypatch):
    """Far from 0, where sums of squares would lose digits; the pixels are no multiple of what a program sums."""
    from tf_models.kernels import normalization, triton_support

    assert triton_support.normalization_runs_in_triton("float32", (3, 57, 61, 64))
    generator = np.random.default_rng(0)
    features, upstream = (generator.normal(size=(3, 57, 61, 64)).astype(np.float32) for _ in range(2))
    features, bias = features + 100, generator.normal(size=64).astype(np.float32)

    def compute(features, bias, upstream):
        mean, variance = normalization.batch_statistics(features)
        gradient = jax.vjp(
            lambda features, bias: normalization.normalize(features, mean, variance, bias, rectify, of_batch=True),
            *(features, bias),
        )[1]
        return mean, variance, *gradient(upstream)

    fast = jax.jit(lambda *arrays: compute(*arrays))(features, bias, upstream)
    monkeypatch.setattr(normalization, "normalization_runs_in_triton", lambda *_: False)
    portable = jax.jit(lambda *arrays: compute(*arrays))(features, bias, upstream)
    precise = features.astype(np.float64)
    variance = np.var(precise, axis=(0, 1, 2)).reshape(2, 32).sum(axis=0)
    assert relative_difference(fast[0], np.mean(precise, axis=(0, 1, 2))) < 1e-7
    assert relative_difference(fast[1], variance) < 1e-6
    for found, expected in zip(fast[2:], portable[2:], strict=True):
        # Single precision of numbers near 100, and the sign of those near 0.
        assert relative_difference(found, expected) < 1e-4


@needs_triton
def test_the_next_process_loads_what_triton_compiled(tmp_path):
    script = """
import sys
import jax.numpy as jnp
from tf_models.kernels import normalization, triton_support
assert triton_support.normalization_runs_in_triton("float32", (1, 8, 8, 64))
features = jnp.arange(4096.0).reshape(1, 8, 8, 64)
print(float(normalization.batch_statistics(features)[0][0]), "triton" in sys.modules)
"""

    def run():
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        return subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )

    assert run().stdout.split() == ["2016.0", "True"]
    files = sorted(tmp_path.glob("triton-*"))
    assert run().stdout.split() == ["2016.0", "False"]
    for path in files:
        if path.stat().st_size:
            path.write_bytes(path.read_bytes()[:100])
    assert run().stdout.split() == ["2016.0", "True"]
    assert sorted(tmp_path.glob("triton-*")) == files
