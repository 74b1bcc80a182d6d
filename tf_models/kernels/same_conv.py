"""The convolutions of MoDL's regularizer and their derivatives, in the form that is fast on a GPU.

Features are `(batch, y, x, channels)`, kernels `(y, x, channels, filters)` of odd size. On a CPU, TensorFlow's own
convolutions are faster unless the result has two channels: then they take three times as long as one matrix product.
"""

from __future__ import annotations

import keras
from keras import ops

from tf_models.backend.devices import runs_on_tensorflow_cpu, runs_on_torch_gpu
from tf_models.backend.ops import Tensor, after, chunk, custom_gradient, sequential_fori_loop, xla_on_cpu
from tf_models.backend.precision import single_precision, to_single_precision
from tf_models.kernels import experts_triton, torch_support
from tf_models.kernels.field_of_experts import adjoint_kernel, filter_gradient
from tf_models.kernels.half_pairs import halves
from tf_models.kernels.padding import zero_pad
from tf_models.kernels.triton_support import same_conv_runs_in_triton

# Up to this number, channels cost more to move than to compute with.
_FEW_CHANNELS = 2
# The most slices that are copied at a time.
_CHUNK_SIZE = 5


def same_conv(features: Tensor, kernel: Tensor, largest: Tensor | None = None) -> Tensor:
    """Compute `ops.conv(features, kernel, padding="same")`.

    The derivative by the features is an ordinary convolution instead of the libraries' routine, and the derivative by
    the kernel is one matrix product.

    Args:
        features: `(batch, y, x, channels)`.
        kernel: `(y, x, channels, filters)`.
        largest: A bound of the magnitudes of the features, a scalar, if one is known. Defaults to None. It saves a
            version for a GPU a pass over them, and changes nothing else.

    Returns:
        `(batch, y, x, filters)`.
    """
    if min(kernel.shape[2:]) > _FEW_CHANNELS and runs_on_tensorflow_cpu():
        from tf_models.kernels import tensorflow_cpu

        return tensorflow_cpu.same_conv(features, kernel)
    if same_conv_runs_in_triton(features.dtype, features.shape, kernel.shape):
        from tf_models.kernels import convolution_jax_gpu

        bound = () if largest is None else (ops.stop_gradient(largest),)
        return custom_gradient(convolution_jax_gpu.forward, convolution_jax_gpu.backward)(features, kernel, *bound)
    return custom_gradient(_forward, convolution_gradients)(features, kernel)


def _forward(features: Tensor, kernel: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    return convolve(features, kernel), (features, kernel)


def convolution_gradients(kept: tuple[Tensor, Tensor], upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of `same_conv` by features and kernel, `kept`."""
    features, kernel = kept
    if keras.backend.backend() == "torch" and torch_support.convolution_runs(
        features.dtype, features.shape, kernel.shape
    ):
        from tf_models.kernels import convolution_triton_torch

        return convolution_triton_torch.gradients(features, kernel, upstream)
    grad_kernel = kernel_gradient(features, upstream, kernel.shape[:2])
    upstream = after(upstream, grad_kernel)
    return convolve(upstream, adjoint_kernel(kernel)), ops.cast(grad_kernel, kernel.dtype)


def kernel_gradient(features: Tensor, upstream: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the gradient of `same_conv` by the kernel.

    ```
    G(i, j) = sum_yx f(y + i, x + j) g(y, x) = sum_yx f(y + i, x) g(y, x - j)
    ```

    One matrix product of `size_y` copies of f, shifted along y, with `size_x` copies of g, shifted along x, gives G for
    all i and j.

    Args:
        features: f, `(batch, y, x, channels)`.
        upstream: g, the gradient by the result, `(batch, y, x, filters)`.
        size: Size of the kernel, y and x.

    Returns:
        `(size_y, size_x, channels, filters)`, in single precision at least.
    """
    channels, filters = features.shape[-1], upstream.shape[-1]
    half_y, half_x = size[0] // 2, size[1] // 2
    if channels <= _FEW_CHANNELS:
        return _few_channels_gradient(zero_pad(features, half_y, half_x), upstream, size)
    if filters <= _FEW_CHANNELS:
        return adjoint_kernel(_few_channels_gradient(zero_pad(upstream, half_y, half_x), features, size))

    def product(features: Tensor, upstream: Tensor) -> Tensor:
        height, width = features.shape[1:3]
        along_y, along_x = zero_pad(features, half_y, 0), zero_pad(upstream, 0, half_x)
        left = ops.concatenate([along_y[:, y : y + height] for y in range(size[0])], axis=-1)
        right = ops.concatenate([along_x[:, :, x : x + width] for x in reversed(range(size[1]))], axis=-1)
        left, right = ops.reshape(left, (-1, size[0] * channels)), ops.reshape(right, (-1, size[1] * filters))
        return to_single_precision(ops.transpose(left) @ right)

    chunk_size = _chunk_size(features.shape[0])
    if chunk_size is None:
        sums = product(features, upstream)
    else:

        def add(number: Tensor, sums: Tensor) -> Tensor:
            return sums + product(chunk(features, number, chunk_size), chunk(upstream, number, chunk_size))

        start = ops.zeros((size[0] * channels, size[1] * filters), single_precision(features))
        sums = sequential_fori_loop(features.shape[0] // chunk_size, add, start)
    return ops.transpose(ops.reshape(sums, (size[0], channels, size[1], filters)), (0, 2, 1, 3))


def _few_channels_gradient(image: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute `filter_gradient`; on PyTorch with VarNet's kernel, if there is a GPU for it."""
    kernel_shape = (*size, image.shape[-1], features.shape[-1])
    if keras.backend.backend() == "torch" and torch_support.filter_gradient_runs(
        image.dtype, image.shape, kernel_shape
    ):
        pairs = experts_triton.pairs(image, kernel_shape)
        return experts_triton.filter_gradient(pairs, halves(features), size)
    return filter_gradient(image, features, size)


def _chunk_size(batch: int | None) -> int | None:
    """Return the largest divisor of the batch size up to `_CHUNK_SIZE`; None for the whole batch at once."""
    if batch is None or batch <= _CHUNK_SIZE:
        return None
    return max(size for size in range(1, _CHUNK_SIZE + 1) if batch % size == 0)


def convolve(features: Tensor, kernel: Tensor) -> Tensor:
    """Compute `same_conv` without its derivative."""
    size_y, size_x, channels, filters = kernel.shape
    if min(channels, filters) > _FEW_CHANNELS:
        if keras.backend.backend() == "jax" and features.dtype == "float32":
            from tf_models.kernels import jax_gpu

            if jax_gpu.has_tensor_cores():
                return jax_gpu.same_conv(features, kernel)
        if keras.backend.backend() == "torch":
            return _convolve_on_torch(features, kernel)
        return ops.conv(features, kernel, padding="same")
    if filters <= _FEW_CHANNELS:
        products = features @ ops.reshape(ops.transpose(kernel, (2, 0, 1, 3)), (channels, -1))
        return _add_products(products, size_y, size_x)
    if runs_on_tensorflow_cpu():
        return ops.conv(features, kernel, padding="same")
    if runs_on_torch_gpu():
        from tf_models.kernels import torch_conv

        return torch_conv.convolve(features, kernel)
    height, width = features.shape[1:3]
    padded = zero_pad(features, size_y // 2, size_x // 2)
    shifts = [(y, x) for y in range(size_y) for x in range(size_x)]
    patches = ops.concatenate([padded[:, y : y + height, x : x + width] for y, x in shifts], axis=-1)
    return patches @ ops.reshape(kernel, (-1, filters))


@xla_on_cpu
def _add_products(products: Tensor, size_y: int, size_x: int) -> Tensor:
    """Shift the products with each pixel of the kernel, `(batch, y, x, size_y * size_x * filters)`, and add them."""
    height, width = products.shape[1:3]
    filters = products.shape[3] // (size_y * size_x)
    products = zero_pad(products, size_y // 2, size_x // 2)
    shifts = [(y, x) for y in range(size_y) for x in range(size_x)]
    shifted = [products[:, y : y + height, x : x + width] for y, x in shifts]
    return sum(product[..., filters * i : filters * (i + 1)] for i, product in enumerate(shifted))


def _convolve_on_torch(features: Tensor, kernel: Tensor) -> Tensor:
    from tf_models.kernels import torch_conv

    if torch_support.convolution_runs(features.dtype, features.shape, kernel.shape):
        from tf_models.kernels import convolution_triton_torch

        return convolution_triton_torch.convolve(features, kernel)
    return torch_conv.convolve(features, kernel)
