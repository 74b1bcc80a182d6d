"""The convolutions of MoDL's regularizer with their derivatives, as a GPU computes them fast.

Features are `(batch, y, x, channels)`, kernels `(y, x, channels, filters)` of odd size. On a CPU, TensorFlow's own are
faster but for a result of two channels.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tf_models.backend.ops import Tensor, delay, loop, runs_on_tensorflow_cpu, take, widen
from tf_models.kernels.field_of_experts import add_columns, adjoint_kernel, convolve_columns, filter_gradient

# Below this, a channel costs more to move than to compute with.
_FEW = 2
# Slices whose copies are made at a time.
_SLICES = 5


def same_conv(features: Tensor, kernel: Tensor) -> Tensor:
    """Compute `ops.conv(features, kernel, padding="same")`.

    Its derivative by the features is an ordinary convolution, not what libraries have for it, and the one by the kernel
    is one matrix product.

    Args:
        features: `(batch, y, x, channels)`.
        kernel: `(y, x, channels, filters)`.

    Returns:
        `(batch, y, x, filters)`.
    """
    if kernel.shape[3] > _FEW and runs_on_tensorflow_cpu():
        from tf_models.kernels import tensorflow_cpu

        return tensorflow_cpu.same_conv(features, kernel)

    @ops.custom_gradient
    def block(features: Tensor, kernel: Tensor) -> Any:
        def gradient(*arguments: Tensor, upstream: Tensor = None) -> tuple[Tensor, Tensor]:
            if upstream is None:
                (upstream,) = arguments
            of_kernel = kernel_gradient(features, upstream, kernel.shape[:2])
            upstream = delay(upstream, of_kernel)
            return _convolve(upstream, adjoint_kernel(kernel)), ops.cast(of_kernel, kernel.dtype)

        return _convolve(features, kernel), gradient

    return block(features, kernel)


def kernel_gradient(features: Tensor, upstream: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the gradient of `same_conv` by the kernel, `upstream` being the one by its result.

    In sum_yx f(y + i, x + j) g(y, x), the shift along y is made to f and the opposite of the one along x to g. So one
    matrix product of `size_y` copies of f and `size_x` copies of g has all shifts.

    Args:
        features: f, `(batch, y, x, channels)`.
        upstream: g, `(batch, y, x, filters)`.
        size: Of the kernel, y and x.

    Returns:
        `(size_y, size_x, channels, filters)`, in single precision at least.
    """
    channels, filters = features.shape[-1], upstream.shape[-1]
    half_y, half_x = size[0] // 2, size[1] // 2
    if channels <= _FEW:
        return filter_gradient(_around(features, half_y, half_x), upstream, size)
    if filters <= _FEW:
        return adjoint_kernel(filter_gradient(_around(upstream, half_y, half_x), features, size))

    def product(features: Tensor, upstream: Tensor) -> Tensor:
        height, width = features.shape[1:3]
        along_y, along_x = _around(features, half_y, 0), _around(upstream, 0, half_x)
        left = ops.concatenate([along_y[:, y : y + height] for y in range(size[0])], axis=-1)
        right = ops.concatenate([along_x[:, :, x : x + width] for x in reversed(range(size[1]))], axis=-1)
        left, right = ops.reshape(left, (-1, size[0] * channels)), ops.reshape(right, (-1, size[1] * filters))
        return widen(ops.matmul(ops.transpose(left), right))

    count = _slices_at_a_time(features.shape[0])
    if count is None:
        sums = product(features, upstream)
    else:

        def add(number: Tensor, sums: Tensor) -> Tensor:
            return sums + product(take(features, number, count), take(upstream, number, count))

        dtype = keras.backend.result_type(features.dtype, "float32")
        start = ops.zeros((size[0] * channels, size[1] * filters), dtype)
        sums = loop(features.shape[0] // count, add, start)
    return ops.transpose(ops.reshape(sums, (size[0], channels, size[1], filters)), (0, 2, 1, 3))


def _slices_at_a_time(batch: int | None) -> int | None:
    """Return the largest divisor of the batch size up to `_SLICES`; None for all together."""
    if batch is None or batch <= _SLICES:
        return None
    return max(count for count in range(1, _SLICES + 1) if batch % count == 0)


def _convolve(features: Tensor, kernel: Tensor) -> Tensor:
    size_y, size_x, channels, filters = kernel.shape
    half_y, half_x = size_y // 2, size_x // 2
    if filters <= _FEW and runs_on_tensorflow_cpu():
        return add_columns(_around(convolve_columns(features, kernel, "same"), 0, half_x))
    if min(channels, filters) > _FEW:
        if keras.backend.backend() == "jax" and features.dtype == "float32":
            from tf_models.kernels import jax_gpu

            if jax_gpu.has_tensor_cores():
                return jax_gpu.same_conv(features, kernel)
        return ops.conv(features, kernel, padding="same")
    height, width = features.shape[1:3]
    shifts = [(y, x) for y in range(size_y) for x in range(size_x)]
    if channels <= _FEW:
        around = _around(features, half_y, half_x)
        patches = ops.concatenate([around[:, y : y + height, x : x + width] for y, x in shifts], axis=-1)
        return ops.matmul(patches, ops.reshape(kernel, (-1, filters)))
    each = ops.matmul(features, ops.reshape(ops.transpose(kernel, (2, 0, 1, 3)), (channels, -1)))
    each = _around(each, half_y, half_x)
    parts = [each[:, y : y + height, x : x + width] for y, x in shifts]
    return sum(part[..., filters * i : filters * (i + 1)] for i, part in enumerate(parts))


def _around(features: Tensor, margin_y: int, margin_x: int) -> Tensor:
    return ops.pad(features, ((0, 0), (margin_y, margin_y), (margin_x, margin_x), (0, 0)))
