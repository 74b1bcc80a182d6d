"""Versions for TensorFlow on a CPU that are faster than the portable ones.

XLA compiles the elementwise parts and fuses them; it would make whole networks slower on a CPU. The activation is
looked up in a table. Between neighbouring nodes, 32 to a standard deviation, it is the cubic polynomial with the values
and derivatives of the sum of Gaussians at the nodes (cubic Hermite interpolation). Its error, h^4 / 384 max |phi''''|,
is below 1e-8 of the largest weight.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tf_models.backend.complex_arrays import join_maps, split_maps
from tf_models.backend.ops import Tensor, after, custom_gradient

_NODES_PER_SIGMA = 32
# End of the table in standard deviations beyond the outermost Gaussians, where phi is below 1e-11 of a weight.
_TAIL = 7.0


def radial_basis(values: Tensor, weights: Tensor) -> Tensor:
    """Return the phi of `tf_models.kernels.field_of_experts.radial_basis`."""
    return _polynomial(values, _tables(weights), *_grid(weights.shape[0]))


def times_slope(upstream: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """As `tf_models.kernels.field_of_experts.times_slope`; the slope is looked up, and not stored."""
    basis, weights = weights.shape[0], after(weights, upstream)
    _, linear, quadratic, cubic = _tables(weights)
    tables = [table / _grid(basis)[1] for table in (linear, 2 * quadratic, 3 * cubic)]
    return _times_polynomial(upstream, values, tables, *_grid(basis))


def radial_basis_gradient(values: Tensor, upstream: Tensor, basis: int) -> Tensor:
    """As `tf_models.kernels.field_of_experts.radial_basis_gradient`: the transposed interpolation."""
    filters = values.shape[-1]
    start, step, intervals = _grid(basis)
    dtype = tf.float32 if values.dtype.size == 2 else values.dtype
    # XLA adds into a table on one thread: each half of the rows has a table of its own. It would be slower if it took
    # the halves itself.
    half, values = values.shape[1] // 2, after(values, upstream)
    halves = [(values[:, :half], upstream[:, :half]), (values[:, half:], upstream[:, half:])]
    sums = tf.add_n([_collect(*arrays, start, step, intervals) for arrays in halves])
    sums = tf.transpose(tf.reshape(sums, (intervals, filters, 4)), (0, 2, 1))
    return tf.tensordot(tf.constant(_polynomials(basis), dtype), sums, axes=((0, 1), (0, 1)))


def same_conv(features: Tensor, kernel: Tensor) -> Tensor:
    """As `tf_models.kernels.same_conv.same_conv`.

    The gradient by the kernel comes first: nothing else waits for it, and it needs the features, which are free then.
    """
    return custom_gradient(_same_conv_forward, _same_conv_backward)(features, kernel)


def _same_conv_forward(features: Tensor, kernel: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    return tf.nn.conv2d(features, kernel, 1, "SAME"), (features, kernel)


def _same_conv_backward(kept: tuple[Tensor, Tensor], upstream: Tensor) -> tuple[Tensor, Tensor]:
    features, kernel = kept
    grad_kernel = filter_gradient(features, upstream, kernel.shape[:2], "SAME")
    grad_features = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(features),
        filter=kernel,
        out_backprop=after(upstream, grad_kernel),
        strides=(1, 1, 1, 1),
        padding="SAME",
    )
    return grad_features, grad_kernel


def filter_gradient(image: Tensor, features: Tensor, size: tuple[int, int], padding: str = "VALID") -> Tensor:
    """As `tf_models.kernels.field_of_experts.filter_gradient`; with padding `SAME` the image has the features' size."""
    return tf.raw_ops.Conv2DBackpropFilter(
        input=image,
        filter_sizes=(*size, image.shape[-1], features.shape[-1]),
        out_backprop=features,
        strides=(1, 1, 1, 1),
        padding=padding,
    )


@tf.function(jit_compile=True, autograph=False)
def sense_normal(image: Tensor, maps: list[Tensor], psf: Tensor, one_dimensional: bool) -> Tensor:
    """Apply `tf_models.operators.sense.SenseNormal`.

    Args:
        image: `(batch, y, x, 2 * maps)`.
        maps: Complex coil sensitivities of each map, `(batch, coil, y, x)`.
        psf: Complex, centred in the corner, `(batch, 1, y, x)`, `(batch, 1, 1, x)` or `(batch, 1, 2y, 2x)`.
        one_dimensional: Whether the psf is constant along y.

    Returns:
        `(batch, y, x, 2 * maps)`.
    """
    images = [tf.complex(values[..., 0], values[..., 1]) for values in split_maps(image[:, None])]
    coil_images = tf.add_n([coils * values for coils, values in zip(maps, images, strict=True)])
    (size_y, size_x), (grid_y, grid_x) = image.shape[1:3], psf.shape[-2:]
    if one_dimensional:
        coil_images = tf.signal.ifft(psf * tf.signal.fft(coil_images))
    else:
        if (size_y, size_x) != (grid_y, grid_x):
            coil_images = tf.pad(coil_images, ((0, 0), (0, 0), (0, grid_y - size_y), (0, grid_x - size_x)))
        coil_images = tf.signal.ifft2d(psf * tf.signal.fft2d(coil_images))[:, :, :size_y, :size_x]
    results = [tf.reduce_sum(tf.math.conj(coils) * coil_images, axis=1) for coils in maps]
    return join_maps([tf.stack([tf.math.real(result), tf.math.imag(result)], axis=-1) for result in results])


def _tables(weights: Tensor) -> list[Tensor]:
    """Return a table for each power of the offset, lowest first, with a row of filters for each interval, flat."""
    coefficients = tf.tensordot(tf.constant(_polynomials(weights.shape[0]), weights.dtype), weights, axes=1)
    return [tf.reshape(table, (-1,)) for table in tf.unstack(coefficients, axis=1)]


@tf.function(jit_compile=True, autograph=False)
def _polynomial(values: Tensor, tables: list[Tensor], start: float, step: float, intervals: int) -> Tensor:
    row, offset = _row_and_offset(tf.cast(values, tables[0].dtype), start, step, intervals)
    return tf.cast(_look_up(tables, row, offset), values.dtype)


@tf.function(jit_compile=True, autograph=False)
def _times_polynomial(
    upstream: Tensor, values: Tensor, tables: list[Tensor], start: float, step: float, intervals: int
) -> Tensor:
    row, offset = _row_and_offset(tf.cast(values, tables[0].dtype), start, step, intervals)
    return upstream * tf.cast(_look_up(tables, row, offset), upstream.dtype)


def _look_up(tables: list[Tensor], row: Tensor, offset: Tensor) -> Tensor:
    """Return the polynomials of a row; a table of its own for each power lets XLA gather many values at once."""
    result = tf.gather(tables[-1], row)
    for table in tables[-2::-1]:
        result = result * offset + tf.gather(table, row)
    return result


@tf.function(jit_compile=True, autograph=False)
def _collect(values: Tensor, upstream: Tensor, start: float, step: float, intervals: int) -> Tensor:
    """Add the gradient times 1, o, o^2 and o^3, with o the offset, into the row of each value."""
    if values.dtype.size == 2:
        values, upstream = tf.cast(values, tf.float32), tf.cast(upstream, tf.float32)
    row, offset = _row_and_offset(values, start, step, intervals)
    # Products of selections: a stack of four arrays takes twice as long.
    power, offset, powers = tf.range(4), offset[..., None], upstream[..., None]
    for number in range(3):
        powers = powers * tf.where(power > number, offset, tf.ones_like(offset))
    rows = intervals * values.shape[-1]
    return tf.math.unsorted_segment_sum(tf.reshape(powers, (-1, 4)), tf.reshape(row, (-1,)), rows)


def _row_and_offset(values: Tensor, start: float, step: float, intervals: int) -> tuple[Tensor, Tensor]:
    """Return the row of the table and the offset within its interval, 0 to 1; outside, those of the nearest end."""
    position = tf.clip_by_value((values - start) / step, 0, intervals - 1e-3)
    interval = tf.cast(position, tf.int32)
    filters = values.shape[-1]
    return interval * filters + tf.range(filters), position - tf.cast(interval, values.dtype)


def _grid(basis: int) -> tuple[float, float, int]:
    """Return the first node, the distance between nodes and the number of intervals."""
    sigma = 2 / basis
    intervals = int(np.ceil((2 + 2 * _TAIL * sigma) / sigma * _NODES_PER_SIGMA))
    start = -1 - _TAIL * sigma
    return start, -2 * start / intervals, intervals


@lru_cache(maxsize=8)
def _polynomials(basis: int) -> NDArray[np.float64]:
    """Return the coefficients of each Gaussian in each interval, lowest power first, `(interval, 4, basis)`."""
    start, step, intervals = _grid(basis)
    nodes = start + step * np.arange(intervals + 1)
    distance = (nodes[:, None] - np.linspace(-1, 1, basis)) * (basis / 2)
    value = np.exp(-0.5 * distance**2)
    slope = -distance * value * (basis / 2) * step
    left, right, slope_left, slope_right = value[:-1], value[1:], slope[:-1], slope[1:]
    cubic = [
        left,
        slope_left,
        3 * (right - left) - 2 * slope_left - slope_right,
        2 * (left - right) + slope_left + slope_right,
    ]
    return np.stack(cubic, axis=1)
