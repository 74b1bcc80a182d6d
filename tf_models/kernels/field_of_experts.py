"""VarNet's field of experts with a derivative that stores and computes little.

It is written with `keras.ops` for every backend. On TensorFlow with a CPU, `tf_models.kernels.tensorflow_cpu` replaces
some functions by faster ones with the same results. On an NVIDIA GPU, `tf_models.kernels.experts_triton` computes all
of it, on JAX if `jax-triton` is installed, and on PyTorch, and `tf_models.kernels.tensorflow_gpu` its convolutions on
TensorFlow; tests compare them.

Images are `(batch, y, x, 2)`, features `(batch, y, x, filter)`, filters `(y, x, 2, filter)`: real and imaginary part
of the image are two channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops

from tf_models.backend.devices import runs_on_tensorflow_cpu
from tf_models.backend.ops import Tensor, custom_gradient, xla_on_cpu
from tf_models.backend.precision import cast_if, to_single_precision
from tf_models.kernels import experts_triton, triton_tiles
from tf_models.kernels.padding import pad_symmetric, pad_symmetric_adjoint, zero_pad
from tf_models.kernels.tensorflow_support import multiplies_halves
from tf_models.kernels.triton_support import runs_as_triton_kernels

# The gradient by smaller filters, such as MoDL's, has too few products for each pixel to pay for its patches.
_LARGE_FILTERS = 5


class _Kept(NamedTuple):
    """What the derivative needs of the forward pass; features are `(batch, y, x, filter)`."""

    padded: Tensor  # the padded image, `(batch, y, x, 2)`
    kernel: Tensor
    weights: Tensor
    values: Tensor  # K u
    activated: Tensor  # phi(K u)
    slope: Tensor | None  # phi'(K u); None if the derivative computes it anew


def field_of_experts(image: Tensor, kernel: Tensor, weights: Tensor, precision: str | None = None) -> Tensor:
    """Compute the gradient of a field of experts.

    ```
    R(u) = 1/F sum_f K_f^T phi_f(K_f u)
    ```

    u is padded symmetrically; `radial_basis` is phi. The derivative is written out: it keeps the features K u, phi and
    phi' and nothing else, and of the convolutions it needs only the gradient by their filters.

    Args:
        image: u, `(batch, y, x, 2)`.
        kernel: Filters K, `(y, x, 2, filter)`.
        weights: Weights of the Gaussians, `(basis, filter)`.
        precision: `bfloat16` or `float16` for features and convolutions; sums of many terms are in single precision.
            Defaults to None, the precision of the image.

    Returns:
        R(u), `(batch, y, x, 2)`.

    Raises:
        ValueError: The image is smaller than the filters, see `pad_symmetric`.
    """
    size_y, size_x, _, filters = kernel.shape
    basis = weights.shape[0]
    compute: tuple[Callable[..., Any], Callable[..., Any]] = (_forward, _gradients)
    fast = precision is None and runs_as_triton_kernels(image.dtype, kernel.shape, basis)
    if fast and triton_tiles.experts_fit(image.shape, kernel.shape):
        compute = (experts_triton.forward, experts_triton.backward)

    def forward(image: Tensor, kernel: Tensor, weights: Tensor) -> tuple[Tensor, Any]:
        padded = cast_if(pad_symmetric(image, size_y - 1, size_x - 1), precision)
        result, kept = compute[0](padded, cast_if(kernel, precision), weights)
        return result / filters, kept

    def backward(kept: Any, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        padded_upstream = cast_if(zero_pad(upstream / filters, size_y - 1, size_x - 1), precision)
        gradients = compute[1](kept, padded_upstream)
        return pad_symmetric_adjoint(gradients[0], size_y - 1, size_x - 1), *gradients[1:]

    return custom_gradient(forward, backward)(image, kernel, weights)


def _forward(padded: Tensor, kernel: Tensor, weights: Tensor) -> tuple[Tensor, _Kept]:
    """Return `K^T phi(K u)` for a padded image u, and what `_gradients` needs."""
    values = conv_valid(padded, kernel)
    activated, slope = radial_basis(values, weights)
    return transposed_conv_valid(activated, kernel), _Kept(padded, kernel, weights, values, activated, slope)


def _gradients(kept: _Kept, padded_upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by the padded image, the filters and the weights."""
    padded, kernel, weights, values, activated, slope = kept
    size_y, size_x = kernel.shape[:2]
    grad_activated = conv_valid(padded_upstream, kernel)
    grad_weights = radial_basis_gradient(values, grad_activated, weights.shape[0])
    grad_values = times_slope(grad_activated, values, weights, slope)
    grad_kernel = filter_gradient(padded, grad_values, (size_y, size_x))
    grad_kernel = grad_kernel + filter_gradient(padded_upstream, activated, (size_y, size_x))
    grad_padded = transposed_conv_valid(zero_pad(grad_values, size_y - 1, size_x - 1), kernel)
    return grad_padded, grad_kernel, grad_weights


def conv_valid(array: Tensor, kernel: Tensor) -> Tensor:
    """Compute `ops.conv(array, kernel, padding="valid")`.

    Args:
        array: `(batch, y, x, channels)`.
        kernel: `(size_y, size_x, channels, filter)`.

    Returns:
        `(batch, y - size_y + 1, x - size_x + 1, filter)`.
    """
    if multiplies_halves(array, kernel):
        from tf_models.kernels import tensorflow_gpu

        return tensorflow_gpu.conv_valid(array, kernel)
    return ops.conv(array, kernel, padding="valid")


def transposed_conv_valid(features: Tensor, kernel: Tensor) -> Tensor:
    """Return the valid part of the transposed convolution.

    Args:
        features: `(batch, y, x, filter)`.
        kernel: `(size_y, size_x, 2, filter)`, as for the convolution.

    Returns:
        `(batch, y - size_y + 1, x - size_x + 1, 2)`, in single precision at least.
    """
    return add_columns(to_single_precision(convolve_columns(features, adjoint_kernel(kernel))))


def adjoint_kernel(kernel: Tensor) -> Tensor:
    """Return the filters of the adjoint convolution: flipped along y and x, input and output exchanged.

    They are flipped by indices. XLA takes a convolution with reversed filters for a derivative by the input, for which
    cuDNN has slower routines.
    """
    if keras.backend.backend() == "torch":
        # There, indices would go to the GPU one by one.
        return ops.transpose(ops.flip(kernel, axis=(0, 1)), (0, 1, 3, 2))
    for axis in (0, 1):
        kernel = ops.take(kernel, list(range(kernel.shape[axis]))[::-1], axis=axis)
    return ops.transpose(kernel, (0, 1, 3, 2))


def convolve_columns(features: Tensor, kernel: Tensor) -> Tensor:
    """Do the first half of a convolution with two output channels: along y only, for each column of the kernel.

    A convolution with two output channels is slow everywhere. One with two for each column of the kernel is not.

    Args:
        features: `(batch, y, x, channels)`.
        kernel: `(rows, columns, channels, 2)`.

    Returns:
        The valid part along y, `(batch, y - rows + 1, x, 2 * columns)`, the input of `add_columns`.
    """
    size_y, size_x, channels, _ = kernel.shape
    columns = ops.reshape(ops.transpose(kernel, (0, 2, 1, 3)), (size_y, 1, channels, 2 * size_x))
    return conv_valid(features, columns)


@xla_on_cpu
def add_columns(sums: Tensor) -> Tensor:
    """Do the second half of a convolution: shift each column along x and add.

    Args:
        sums: `(batch, y, x, 2 * columns)`, from `convolve_columns`.

    Returns:
        The valid part, `(batch, y, x - columns + 1, 2)`.
    """
    size_x = sums.shape[3] // 2
    width = sums.shape[2] - size_x + 1
    result = sums[:, :, :width, :2]
    for column in range(1, size_x):
        result = result + sums[:, :, column : column + width, 2 * column : 2 * column + 2]
    return result


def filter_gradient(image: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the gradient of the valid convolution `conv(image, kernel)` by the filters.

    It is one matrix product for each row of the filters. The libraries' routines are slow for few channels and large
    filters, and on a GPU for many channels, too.

    Args:
        image: `(batch, y + size_y - 1, x + size_x - 1, channels)`.
        features: The gradient by the result of the convolution, `(batch, y, x, filter)`.
        size: Size of the filters, y and x.

    Returns:
        `(size_y, size_x, channels, filter)`, in single precision at least.
    """
    if runs_on_tensorflow_cpu():
        from tf_models.kernels import tensorflow_cpu

        return to_single_precision(tensorflow_cpu.filter_gradient(image, features, size))
    if min(size) >= _LARGE_FILTERS and multiplies_halves(image, features):
        from tf_models.kernels import tensorflow_gpu

        return tensorflow_gpu.filter_gradient(image, features, size)
    _, height, width, filters = features.shape
    channels = image.shape[-1]
    flat = ops.reshape(features, (-1, filters))
    rows = []
    for y in range(size[0]):
        line = image[:, y : y + height]
        patches = ops.concatenate([line[:, :, x : x + width] for x in range(size[1])], axis=-1)
        rows.append(ops.transpose(ops.reshape(patches, (-1, channels * size[1]))) @ flat)
    return to_single_precision(ops.reshape(ops.stack(rows), (*size, channels, filters)))


def radial_basis(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor | None]:
    """Compute the activation phi, and its derivative by z where that costs little beside it.

    ```
    phi_f(z) = sum_j w_jf exp(-(z - mu_j)^2 / (2 sigma^2))
    ```

    The means mu_j are equally spaced on [-1, 1], and sigma = 2 / basis.

    Args:
        values: z, `(batch, y, x, filter)`.
        weights: w, `(basis, filter)`.

    Returns:
        phi and phi', each `(batch, y, x, filter)`. phi' is None with TensorFlow on a CPU; `times_slope` looks it up.
    """
    if runs_on_tensorflow_cpu():
        from tf_models.kernels import tensorflow_cpu

        return tensorflow_cpu.radial_basis(values, weights), None
    dtype, values = values.dtype, to_single_precision(values)
    activated, slope = ops.zeros_like(values), ops.zeros_like(values)
    for number, (distance, gaussian) in enumerate(_gaussians(values, weights.shape[0])):
        part = weights[number] * gaussian
        activated = activated + part
        slope = slope - part * distance
    return ops.cast(activated, dtype), ops.cast(slope * (weights.shape[0] / 2), dtype)


def times_slope(upstream: Tensor, values: Tensor, weights: Tensor, slope: Tensor | None) -> Tensor:
    """Return the gradient by z.

    Args:
        upstream: The gradient by phi, `(batch, y, x, filter)`.
        values: z, same shape.
        weights: w, `(basis, filter)`.
        slope: phi' or None, from `radial_basis`.

    Returns:
        upstream times phi', same shape.
    """
    if slope is not None:
        return upstream * slope
    from tf_models.kernels import tensorflow_cpu

    return tensorflow_cpu.times_slope(upstream, values, weights)


def radial_basis_gradient(values: Tensor, upstream: Tensor, basis: int) -> Tensor:
    """Return the gradient by the weights of `radial_basis`.

    Args:
        values: z, `(batch, y, x, filter)`.
        upstream: The gradient by phi, same shape.
        basis: Number of Gaussians.

    Returns:
        `(basis, filter)`, in single precision at least.
    """
    if runs_on_tensorflow_cpu():
        from tf_models.kernels import tensorflow_cpu

        return tensorflow_cpu.radial_basis_gradient(values, upstream, basis)
    values, upstream = to_single_precision(values), to_single_precision(upstream)
    return ops.stack([ops.sum(upstream * gaussian, axis=(0, 1, 2)) for _, gaussian in _gaussians(values, basis)])


def _gaussians(values: Tensor, basis: int) -> list[tuple[Tensor, Tensor]]:
    """Return (z - mu_j) / sigma and exp(-(z - mu_j)^2 / (2 sigma^2)) for each j."""
    distances = [(values - (-1 + 2 * number / (basis - 1))) * (basis / 2) for number in range(basis)]
    return [(distance, ops.exp(-0.5 * distance * distance)) for distance in distances]
