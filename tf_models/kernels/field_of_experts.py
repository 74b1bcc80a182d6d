"""The field of experts of VarNet with its derivative, written so that little is stored and little is computed.

Written with `keras.ops` for every backend. For TensorFlow on a CPU some of it is replaced by
`tf_models.kernels.tensorflow_cpu`, which computes the same faster; tests compare the two.

Images are `(batch, y, x, 2)`, features `(batch, y, x, filter)`, filters `(y, x, 2, filter)`: real and imaginary part
of the image are two channels.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from tf_models.backend.ops import Tensor, narrow, runs_on_tensorflow_cpu, widen


def field_of_experts(image: Tensor, kernel: Tensor, weights: Tensor, precision: str | None = None) -> Tensor:
    """Compute R(u) = 1/F sum_f K_f^T phi_f(K_f u), u continued by mirroring; see `VariationalBlock`.

    The derivative is written out: it keeps the features K u, phi and phi' and nothing else, and needs no gradient of a
    convolution but that by its filters.

    Args:
        image: u, `(batch, y, x, 2)`.
        kernel: Filters, `(y, x, 2, filter)`.
        weights: Of the Gaussians, `(basis, filter)`.
        precision: `bfloat16` or `float16` for features and convolutions; sums of many terms are in single precision.

    Returns:
        R(u), `(batch, y, x, 2)`.
    """

    @ops.custom_gradient
    def block(image: Tensor, kernel: Tensor, weights: Tensor) -> Any:
        size_y, size_x, _, filters = kernel.shape
        margin = ((0, 0), (size_y - 1, size_y - 1), (size_x - 1, size_x - 1), (0, 0))
        padded = narrow(mirror(image, size_y - 1, size_x - 1), precision)
        kernel = narrow(kernel, precision)
        values = ops.conv(padded, kernel, padding="valid")
        activated, slope = radial_basis(values, weights)
        result = spread(activated, kernel) / filters

        def gradient(*arguments: Tensor, upstream: Tensor = None) -> tuple[Tensor, Tensor, Tensor]:
            if upstream is None:
                (upstream,) = arguments
            around = narrow(ops.pad(upstream / filters, margin), precision)
            of_activated = ops.conv(around, kernel, padding="valid")
            of_weights = radial_basis_gradient(values, of_activated, weights.shape[0])
            of_values = of_activated * slope
            of_kernel = filter_gradient(padded, of_values, (size_y, size_x))
            of_kernel = of_kernel + filter_gradient(around, activated, (size_y, size_x))
            of_padded = spread(ops.pad(of_values, margin), kernel)
            return mirror_adjoint(of_padded, size_y - 1, size_x - 1), of_kernel, of_weights

        return result, gradient

    return block(image, kernel, weights)


def spread(features: Tensor, kernel: Tensor) -> Tensor:
    """Sum the flipped filters at each pixel, weighted with the features: the transposed convolution, valid part."""
    return add_columns(widen(convolve_columns(features, adjoint_kernel(kernel), "valid")))


def adjoint_kernel(kernel: Tensor) -> Tensor:
    """Return the filters of the adjoint convolution: turned around, input and output exchanged.

    By indices, because XLA takes a convolution with reversed filters for a derivative by the input, for which cuDNN has
    worse routines.
    """
    for axis in (0, 1):
        kernel = ops.take(kernel, list(range(kernel.shape[axis]))[::-1], axis=axis)
    return ops.transpose(kernel, (0, 1, 3, 2))


def convolve_columns(features: Tensor, kernel: Tensor, padding: str) -> Tensor:
    """Do the first half of a convolution with two results: along y only, with two channels for each column.

    A convolution with two output channels is slow everywhere, one with as many as two for each column is not.

    Args:
        features: `(batch, y, x, channels)`.
        kernel: `(y, x, channels, 2)`.
        padding: Along y, `valid` or `same`.

    Returns:
        `(batch, y, x, 2 * columns)`, to be given to `add_columns`.
    """
    size_y, size_x, channels, _ = kernel.shape
    columns = ops.reshape(ops.transpose(kernel, (0, 2, 1, 3)), (size_y, 1, channels, 2 * size_x))
    return ops.conv(features, columns, padding=padding)


def add_columns(sums: Tensor) -> Tensor:
    """Do the second half: shift each column to its place and add; the valid part along x, `(batch, y, x, 2)`."""
    size_x = sums.shape[3] // 2
    width = sums.shape[2] - size_x + 1
    result = sums[:, :, :width, :2]
    for column in range(1, size_x):
        result = result + sums[:, :, column : column + width, 2 * column : 2 * column + 2]
    return result


def filter_gradient(image: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the gradient of `conv(image, kernel)` by the filters, `features` being the one by the result.

    Written as one matrix product for each row of the filters: the routines that libraries have for this are slow with
    few channels and large filters, and on a GPU with many channels, too.

    Args:
        image: `(batch, y + size_y - 1, x + size_x - 1, channels)`.
        features: `(batch, y, x, filter)`.
        size: Of the filters, y and x.

    Returns:
        `(size_y, size_x, channels, filter)`.
    """
    if runs_on_tensorflow_cpu():
        from tf_models.kernels import tensorflow_cpu

        return widen(tensorflow_cpu.filter_gradient(image, features, size))
    _, height, width, filters = features.shape
    channels = image.shape[-1]
    flat = ops.reshape(features, (-1, filters))
    rows = []
    for y in range(size[0]):
        line = image[:, y : y + height]
        patches = ops.concatenate([line[:, :, x : x + width] for x in range(size[1])], axis=-1)
        rows.append(ops.matmul(ops.transpose(ops.reshape(patches, (-1, channels * size[1]))), flat))
    return widen(ops.reshape(ops.stack(rows), (*size, channels, filters)))


def radial_basis(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Compute phi_f(z) = sum_j w_jf exp(-(z - mu_j)^2 / (2 sigma^2)) and its derivative by z.

    Args:
        values: z, `(batch, y, x, filter)`.
        weights: w, `(basis, filter)`.

    Returns:
        phi and phi', each `(batch, y, x, filter)`.
    """
    if runs_on_tensorflow_cpu():
        from tf_models.kernels import tensorflow_cpu

        return tensorflow_cpu.radial_basis(values, weights)
    dtype, values = values.dtype, widen(values)
    activated, slope = ops.zeros_like(values), ops.zeros_like(values)
    for number, (distance, gaussian) in enumerate(_gaussians(values, weights.shape[0])):
        part = weights[number] * gaussian
        activated = activated + part
        slope = slope - part * distance
    return ops.cast(activated, dtype), ops.cast(slope * (weights.shape[0] / 2), dtype)


def radial_basis_gradient(values: Tensor, upstream: Tensor, basis: int) -> Tensor:
    """Return the gradient by the weights of `radial_basis`, `(basis, filter)`; `upstream` is the one by phi."""
    if runs_on_tensorflow_cpu():
        from tf_models.kernels import tensorflow_cpu

        return tensorflow_cpu.radial_basis_gradient(values, upstream, basis)
    values, upstream = widen(values), widen(upstream)
    return ops.stack([ops.sum(upstream * gaussian, axis=(0, 1, 2)) for _, gaussian in _gaussians(values, basis)])


def _gaussians(values: Tensor, basis: int) -> list[tuple[Tensor, Tensor]]:
    """Return (z - mu_j) / sigma and exp(-(z - mu_j)^2 / (2 sigma^2)) for each j."""
    distances = [(values - (-1 + 2 * number / (basis - 1))) * (basis / 2) for number in range(basis)]
    return [(distance, ops.exp(-0.5 * distance * distance)) for distance in distances]


def mirror(image: Tensor, height: int, width: int) -> Tensor:
    """Continue images by mirroring, the pixels at the edge included, by `height` and `width` pixels on each side.

    Raises:
        ValueError: An image has fewer pixels than what it is continued by.
    """
    if image.shape[1] < height or image.shape[2] < width:
        raise ValueError(
            f"`image` must have at least {height} x {width} pixels (y, x) to be mirrored for filters of {height + 1} x "
            f"{width + 1}. Received: {image.shape[1]} x {image.shape[2]}"
        )
    for margin, axis in ((height, 1), (width, 2)):
        if margin:
            first, last = _ends(image, margin, axis)
            image = ops.concatenate([ops.flip(first, axis=axis), image, ops.flip(last, axis=axis)], axis=axis)
    return image


def mirror_adjoint(padded: Tensor, height: int, width: int) -> Tensor:
    """Add what lies outside of the image to the pixels it was mirrored from: the adjoint of `mirror`."""
    for margin, axis in ((width, 2), (height, 1)):
        if margin:
            size = padded.shape[axis] - 2 * margin
            first, last = (ops.flip(end, axis=axis) for end in _ends(padded, margin, axis))
            inside = _part(padded, margin, margin + size, axis)
            rest = [(0, 0)] * 4
            rest[axis] = (0, size - margin)
            inside = inside + ops.pad(first, rest)
            rest[axis] = (size - margin, 0)
            padded = inside + ops.pad(last, rest)
    return padded


def _ends(image: Tensor, margin: int, axis: int) -> tuple[Tensor, Tensor]:
    size = image.shape[axis]
    return _part(image, 0, margin, axis), _part(image, size - margin, size, axis)


def _part(image: Tensor, start: int, stop: int, axis: int) -> Tensor:
    return image[:, start:stop] if axis == 1 else image[:, :, start:stop]
