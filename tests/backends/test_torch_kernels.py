"""What PyTorch has of its own, against the portable versions; what needs a GPU is skipped without one."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.helper import relative_difference

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="needs KERAS_BACKEND=torch")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def _full_precision():
    """As the constructor of each network; by itself, PyTorch lets cuDNN convolve in TF32."""
    from tf_models.backend.precision import use_full_precision

    use_full_precision()


def numbers(*shape, seed=0):
    return keras.ops.convert_to_tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def with_gradients(function, arrays, upstream):
    """Return the result and the gradients by all arrays, as NumPy arrays."""
    inputs = [array.detach().clone().requires_grad_() for array in arrays]
    result = function(*inputs)
    result.backward(upstream)
    return [array.detach().cpu().numpy() for array in (result, *(value.grad for value in inputs))]


@pytest.mark.parametrize("of_batch", [True, False])
def test_normalized_conv_is_normalization_and_convolution(of_batch):
    from tf_models.kernels.normalization import batch_statistics, normalize
    from tf_models.kernels.normalized_conv import normalized_conv
    from tf_models.kernels.same_conv import same_conv

    features, bias, kernel, upstream = numbers(2, 9, 8, 6), numbers(6), numbers(3, 3, 6, 4), numbers(2, 9, 8, 4)

    def statistics(features):
        return batch_statistics(features) if of_batch else [numbers(6, seed=1), numbers(3, seed=2) ** 2]

    def one_by_one(features, bias, kernel):
        normalized = normalize(features, *statistics(features), bias, rectify=True, of_batch=of_batch)
        return same_conv(normalized, kernel)

    def together(features, bias, kernel):
        return normalized_conv(features, statistics(features), bias, kernel, of_batch)

    arrays = features, bias, kernel
    for found, expected in zip(
        with_gradients(together, arrays, upstream), with_gradients(one_by_one, arrays, upstream), strict=True
    ):
        assert relative_difference(found, expected) < 1e-6


@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("psf", [(1, 9), (8, 1), (8, 9), (16, 18)])
def test_conjugate_gradients_of_a_gpu_are_the_portable_ones(psf, maps):
    from tf_models.operators.conjugate_gradient import conjugate_gradient
    from tf_models.operators.sense import SenseNormal

    normal, image = (
        SenseNormal(numbers(2, 3, 8, 9, 2 * maps), numbers(2, *psf) ** 2),
        numbers(2, 8, 9, 2 * maps, seed=1),
    )
    weight = keras.ops.convert_to_tensor(0.3)
    expected = conjugate_gradient(lambda vector: normal(vector) + weight * vector, image, 4)
    found = normal.solve_on_torch_gpu(image, weight, 4)
    assert relative_difference(found.cpu().numpy(), expected.cpu().numpy()) < 1e-6


def test_real_kernels_compute_with_complex_numbers():
    """Values and gradient, of a random kernel and features `(pixel, channel)`, whose convolution is a product."""
    from tf_models.kernels.torch_conv import real_kernel

    kernel, features = numbers(1, 1, 3, 4, 2), numbers(5, 3, 2, seed=1)
    upstream = numbers(5, 4, 2, seed=2)

    def complex_product(kernel):
        return torch.view_as_real(torch.view_as_complex(features) @ torch.view_as_complex(kernel[0, 0].contiguous()))

    def real_product(kernel):
        product = torch.cat([features[..., 0], features[..., 1]], -1) @ real_kernel(kernel)[0, 0]
        return torch.stack(product.chunk(2, -1), -1)

    for found, expected in zip(
        with_gradients(real_product, [kernel], upstream),
        with_gradients(complex_product, [kernel], upstream),
        strict=True,
    ):
        assert relative_difference(found, expected) < 1e-6


def test_zeros_are_padded_as_by_keras():
    from tf_models.kernels.padding import pad_with_zeros

    array, margins = numbers(2, 3, 4), ((0, 1), (2, 0), (3, 4))
    found, gradient = with_gradients(lambda array: pad_with_zeros(array, margins), [array], numbers(3, 5, 11, seed=1))
    np.testing.assert_array_equal(found, keras.ops.pad(array, margins).cpu().numpy())
    np.testing.assert_array_equal(gradient, numbers(3, 5, 11, seed=1).cpu().numpy()[:2, 2:, 3:7])


@pytest.mark.parametrize("kind", ["varnet", "modl"])
def test_a_step_makes_no_object_for_an_operation(kind, monkeypatch):
    """Keras makes one for each `ops.pad`, which takes PyTorch longer than the operation."""
    from bart_bridge.reconet import weights
    from tests.benchmarks.gpu_case import problem
    from tf_models.networks.build import build

    network, inputs, reference = problem(kind, (14, 15, 2), batch=1, iterations=1)
    model = build(network, weights.initial(network, 0))
    model.compile(optimizer=keras.optimizers.SGD(1e-4))
    model.train_on_batch(inputs, reference)
    made, make = [], keras.Operation.__new__
    monkeypatch.setattr(
        keras.Operation, "__new__", lambda cls, *args, **kwargs: made.append(cls) or make(cls, *args, **kwargs)
    )
    model.train_on_batch(inputs, reference)
    assert made == []
    keras.ops.pad(numbers(2), ((1, 1),))
    assert len(made) == 1


def test_double_precision_stays_double():
    from tf_models.kernels.same_conv import same_conv

    arrays = numbers(2, 9, 8, 4).double(), numbers(3, 3, 4, 6).double()
    found = with_gradients(same_conv, arrays, numbers(2, 9, 8, 6).double())
    assert all(array.dtype == np.float64 for array in found)


def test_halves_are_the_numbers():
    pytest.importorskip("triton", reason="triton is not installed")
    from tf_models.kernels.convolution_triton_torch import halves

    values = numbers(2, 5, 4, 3) * 10.0 ** numbers(2, 5, 4, 1, seed=1)
    high, low, unit = halves(values, 3, 5)
    assert high.shape == low.shape == (2, 7, 8, 3)
    restored = (high.double() + low.double()) * unit
    error = (restored[:, 1:-1, 2:-2] - values).abs()
    assert float((error / values.abs()).max()) < 2.0**-20
    assert float(restored.abs().sum()) == pytest.approx(float(restored[:, 1:-1, 2:-2].abs().sum()))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_leaves_the_other_numbers_as_they_are(wrong):
    """So a slice without an image does not spoil the others of its batch."""
    pytest.importorskip("triton", reason="triton is not installed")
    from tf_models.kernels.convolution_triton_torch import halves

    values = numbers(2, 5, 6, 3)
    values[1, 2, 3, 1] = wrong
    high, low, unit = halves(values)
    restored, finite = (high.double() + low.double()) * unit, values.isfinite()
    assert torch.equal(restored.isfinite(), finite)
    torch.testing.assert_close(restored[finite], values[finite].double(), rtol=2.0**-20, atol=0)


# Run by Triton's interpreter, for which a process has to decide before it makes a kernel.
IN_THE_INTERPRETER = """
import sys
import numpy as np
from keras import ops
from tests.backends.test_torch_kernels import numbers, with_gradients
from tests.helper import relative_difference
from tf_models.kernels import field_of_experts, triton_tiles

# Each program takes the interpreter as long as a GPU takes for a whole batch.
triton_tiles.FILTER_PROGRAMS, triton_tiles.RBF_PROGRAMS = 2, 3
size_y, size_x, filters, basis = map(int, sys.argv[1:])
height, width = size_y + 3, size_x + 6
arrays = [0.3 * numbers(1, height, width, 2), numbers(size_y, size_x, 2, filters, seed=1), numbers(basis, filters)]
arrays[1] = arrays[1] / np.sqrt(2 * size_y * size_x)
upstream = numbers(1, height, width, 2, seed=3)
exact = with_gradients(field_of_experts.field_of_experts, [array.double() for array in arrays], upstream.double())
field_of_experts.runs_as_triton_kernels = lambda *_: True
found = with_gradients(field_of_experts.field_of_experts, arrays, upstream)
print(max(relative_difference(*pair) for pair in zip(found, exact)))
"""


@pytest.mark.parametrize("sizes", [(5, 3, 5, 7), (3, 5, 33, 12), (3, 9, 7, 5), (1, 1, 1, 2)])
def test_triton_kernels_compute_the_field_of_experts_without_a_gpu(sizes):
    """Image and all gradients; the size of the image is no multiple of what a program computes."""
    pytest.importorskip("triton", reason="triton is not installed")
    if np.lib.NumpyVersion(np.__version__) >= "2.4.0":
        pytest.skip(f"Triton's interpreter needs NumPy below 2.4 for loops of any length, this is {np.__version__}")
    finished = subprocess.run(
        [sys.executable, "-c", IN_THE_INTERPRETER, *map(str, sizes)],
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert float(finished.stdout) < 1e-6


@needs_gpu
@pytest.mark.parametrize(("size", "filters", "basis"), [((5, 3), 5, 7), ((11, 11), 24, 31)])
def test_triton_kernels_are_the_portable_field_of_experts(size, filters, basis, monkeypatch):
    """Image and all gradients, in single precision beside double; the size of the image fills no program."""
    from tf_models.kernels import field_of_experts, triton_support

    assert triton_support.runs_as_triton_kernels("float32", (*size, 2, filters), basis)
    scales = [0.3, 1 / np.sqrt(2 * size[0] * size[1]), 1]
    arrays = [
        scale * numbers(*shape, seed=seed)
        for seed, (scale, shape) in enumerate(
            zip(scales, [(2, 40, 45, 2), (*size, 2, filters), (basis, filters)], strict=True)
        )
    ]
    upstream = numbers(2, 40, 45, 2, seed=3)
    fast = with_gradients(field_of_experts.field_of_experts, arrays, upstream)
    monkeypatch.setattr(field_of_experts, "runs_as_triton_kernels", lambda *_: False)
    exact = with_gradients(field_of_experts.field_of_experts, [array.double() for array in arrays], upstream.double())
    for found, expected in zip(fast, exact, strict=True):
        # Single precision, amplified by the activation.
        assert relative_difference(found, expected) < 5e-6


@needs_gpu
@pytest.mark.parametrize("channels", [(64, 64), (32, 16), (2, 64), (64, 2)])
def test_convolutions_of_a_gpu_have_single_precision(channels):
    from tf_models.kernels.same_conv import same_conv

    arrays = [numbers(2, 19, 23, channels[0]), numbers(3, 3, *channels, seed=1)]
    upstream = numbers(2, 19, 23, channels[1], seed=2)
    single = with_gradients(same_conv, arrays, upstream)
    double = with_gradients(same_conv, [array.double() for array in arrays], upstream.double())
    for found, expected in zip(single, double, strict=True):
        assert relative_difference(found, expected) < 1e-6
