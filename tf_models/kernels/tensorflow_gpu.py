"""VarNet's convolutions for TensorFlow on an NVIDIA GPU, within what XLA compiles.

Numbers of single precision become pairs of halves (`tf_models.kernels.jax_gpu.halves`), and their products are matrix
products of halves with sums in single precision, which tensor cores compute. That needs no TF32, which TensorFlow
permits or forbids for the whole process.

XLA gives cuDNN no convolution of halves with a result in single precision, so patches are written to memory. To write
few of them, a row of the matrix has a patch of a tile of neighbouring pixels, and gives all results of the tile: the
other matrix has a copy of the kernel for each of its pixels, with zeros where the pixel does not reach. Tiles of 4 x 4
pixels and kernels of 11 x 11 take a tenth of the memory of single patches, for 1.6 times the products.

A number that is not finite makes all results of its tile NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.compiler.xla import xla_data_pb2

from tf_models.backend.ops import Tensor
from tf_models.kernels.triton_tiles import Halves

# Tensor cores round sums down. So a sum of more products than this is one in single precision of several sums.
_LONGEST_SUM = 1024
# Pixels along y and x that are computed together; with kernels of one column, those of one column.
_TILE, _COLUMN_TILE = (4, 4), (8, 1)


def conv_valid(array: Tensor, kernel: Tensor) -> Tensor:
    """Compute `ops.conv(array, kernel, padding="valid")`.

    Args:
        array: `(batch, y, x, channels)`, float32.
        kernel: `(size_y, size_x, channels, filters)`, float32.

    Returns:
        `(batch, y - size_y + 1, x - size_x + 1, filters)`, float32.

    References:
        Ootomo and Yokota (2022), doi 10.1177/10943420221090256.
    """
    size_y, size_x, _, filters = kernel.shape
    tile = _TILE if size_x > 1 else _COLUMN_TILE
    height, width = array.shape[1] - size_y + 1, array.shape[2] - size_x + 1
    pairs, kernels = halves(array), halves(kernel)
    low, high = (_patches(part, (size_y, size_x), tile) for part in (pairs.low, pairs.high))
    kernel_low, kernel_high = (_matrix(part, tile) for part in (kernels.low, kernels.high))
    # Small products come first, because tensor cores round each sum down.
    left, right = tf.concat([low, high, high], axis=-1), tf.concat([kernel_high, kernel_low, kernel_high], axis=0)
    numbers = xla_data_pb2.DotDimensionNumbers(lhs_contracting_dimensions=[3], rhs_contracting_dimensions=[0])
    sums = xla.dot_general(left, right, numbers, preferred_element_type=tf.float32)
    tiles_y, tiles_x = left.shape[1:3]
    sums = tf.transpose(tf.reshape(sums, (-1, tiles_y, tiles_x, *tile, filters)), (0, 1, 3, 2, 4, 5))
    sums = tf.reshape(sums, (-1, tiles_y * tile[0], tiles_x * tile[1], filters))
    return _times_units(sums[:, :height, :width], pairs.unit, kernels.unit)


def filter_gradient(image: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute `tf_models.kernels.field_of_experts.filter_gradient`.

    It is one matrix product of the patches of tiles and their features, which has the gradient once for each pixel of a
    tile.

    Args:
        image: `(batch, y + size_y - 1, x + size_x - 1, channels)`, float32.
        features: `(batch, y, x, filters)`, float32.
        size: Size of the filters, y and x.

    Returns:
        `(size_y, size_x, channels, filters)`, float32.

    References:
        Ootomo and Yokota (2022), doi 10.1177/10943420221090256.
    """
    (tile_y, tile_x), channels, filters = _TILE, image.shape[-1], features.shape[-1]
    patches = _of_both(lambda part: _patches(part, size, _TILE), halves(image))
    sums = _sum_of_products(patches, _of_both(lambda part: _tiles(part, _TILE), halves(features)))
    sums = tf.reshape(sums, (tile_y + size[0] - 1, tile_x + size[1] - 1, channels, tile_y, tile_x, filters))
    pixels = [(y, x) for y in range(tile_y) for x in range(tile_x)]
    return tf.add_n([sums[y : y + size[0], x : x + size[1], :, y, x] for y, x in pixels])


def halves(array: Tensor) -> Halves:
    """Split numbers into pairs of halves, see `tf_models.kernels.jax_gpu.halves`.

    Args:
        array: Any shape, float32.

    Returns:
        Two arrays of this shape, float16, and their unit, a scalar, float32.

    References:
        Ootomo and Yokota (2022), doi 10.1177/10943420221090256.
    """
    magnitudes = tf.abs(array)
    largest = tf.reduce_max(tf.where(tf.math.is_finite(array), magnitudes, tf.zeros_like(magnitudes)))
    # The bits of a float32 from 23 on are its exponent plus 127. Below 15, the scale would not be finite.
    exponent = tf.maximum(tf.bitwise.right_shift(tf.bitcast(largest, tf.int32), 23), 15)
    scale, unit = (tf.bitcast(tf.bitwise.left_shift(bits, 23), tf.float32) for bits in (268 - exponent, exponent - 14))
    scaled = array * scale
    # A mere conversion forth and back is one that XLA may leave out.
    high = xla.reduce_precision(scaled, exponent_bits=5, mantissa_bits=10)
    return Halves(tf.cast(high, tf.float16), tf.cast(scaled - high, tf.float16), unit)


def _of_both(function: Callable[[Tensor], Tensor], pairs: Halves) -> Halves:
    return Halves(function(pairs.high), function(pairs.low), pairs.unit)


def _times_units(sums: Tensor, a: Tensor, b: Tensor) -> Tensor:
    # The smaller one first: the sums are large, and the other order could leave the range of single precision.
    return sums * tf.minimum(a, b) * tf.maximum(a, b)


def _patches(array: Tensor, size: tuple[int, int], tile: tuple[int, int]) -> Tensor:
    """Return the patch that each tile of a valid convolution reads.

    Args:
        array: `(batch, y, x, channels)`.
        size: Size of the kernel, y and x.
        tile: Size of the tiles, y and x.

    Returns:
        `(batch, tiles along y, tiles along x, pixels of a patch * channels)`.
    """
    counts = [-(-(array.shape[1 + axis] - size[axis] + 1) // tile[axis]) for axis in (0, 1)]
    pixels = [tile[axis] + size[axis] - 1 for axis in (0, 1)]
    missing = [(counts[axis] - 1) * tile[axis] + pixels[axis] - array.shape[1 + axis] for axis in (0, 1)]
    array = tf.pad(array, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    if pixels[1] == 1:
        last = (counts[0] - 1) * tile[0] + 1
        return tf.concat([array[:, y : y + last : tile[0]] for y in range(pixels[0])], axis=-1)
    # Slices would be one for each pixel of a patch, and each of them code of its own.
    for axis in (0, 1):
        indices = tile[axis] * np.arange(counts[axis])[:, None] + np.arange(pixels[axis])
        array = tf.gather(array, indices.ravel(), axis=1 + axis)
    channels = array.shape[-1]
    array = tf.reshape(array, (-1, counts[0], pixels[0], counts[1], pixels[1], channels))
    array = tf.transpose(array, (0, 1, 3, 2, 4, 5))
    return tf.reshape(array, (-1, *counts, pixels[0] * pixels[1] * channels))


def _tiles(features: Tensor, tile: tuple[int, int]) -> Tensor:
    """Return the tiles of features `(batch, y, x, filters)`, `(batch, tiles along y, along x, numbers of a tile)`."""
    _, height, width, filters = features.shape
    counts = -(-height // tile[0]), -(-width // tile[1])
    features = tf.pad(features, ((0, 0), (0, counts[0] * tile[0] - height), (0, counts[1] * tile[1] - width), (0, 0)))
    features = tf.reshape(features, (-1, counts[0], tile[0], counts[1], tile[1], filters))
    features = tf.transpose(features, (0, 1, 3, 2, 4, 5))
    return tf.reshape(features, (-1, *counts, tile[0] * tile[1] * filters))


def _matrix(kernel: Tensor, tile: tuple[int, int]) -> Tensor:
    """Return the matrix from the patch of a tile to its results.

    Args:
        kernel: `(y, x, channels, filters)`.
        tile: Size of the tiles, y and x.

    Returns:
        `(pixels of a patch * channels, pixels of a tile * filters)`.
    """
    for axis in (0, 1):
        # The axes of the results follow those of the kernel: first filters, then pixels along y and x.
        copies = []
        for pixel in range(tile[axis]):
            margins = [(0, 0)] * len(kernel.shape)
            margins[axis] = (pixel, tile[axis] - 1 - pixel)
            copies.append(tf.pad(kernel, margins))
        kernel = tf.stack(copies, axis=3 + axis)
    return tf.reshape(kernel, (np.prod(kernel.shape[:3]), np.prod(kernel.shape[3:])))


def _sum_of_products(left: Halves, right: Halves) -> Tensor:
    """Return `left^T @ right`, `(m, n)`, float32, for `(batch, y, x, m)` and `(batch, y, x, n)`."""
    m, n = left.high.shape[-1], right.high.shape[-1]
    # One product of both parts with both parts; that of the low ones, below the precision, is left out.
    arrays = [_in_blocks(tf.concat([pairs.low, pairs.high], axis=-1)) for pairs in (left, right)]
    numbers = xla_data_pb2.DotDimensionNumbers(
        lhs_batch_dimensions=[0],
        rhs_batch_dimensions=[0],
        lhs_contracting_dimensions=[1],
        rhs_contracting_dimensions=[1],
    )
    sums = tf.reduce_sum(xla.dot_general(*arrays, numbers, preferred_element_type=tf.float32), axis=0)
    return _times_units((sums[:m, n:] + sums[m:, :n]) + sums[m:, n:], left.unit, right.unit)


def _in_blocks(array: Tensor) -> Tensor:
    """Return the pixels of `(batch, y, x, numbers)` in blocks of one size, `(blocks, pixels, numbers)`."""
    _, height, width, numbers = array.shape
    pixels = height * width
    blocks = -(-pixels // _LONGEST_SUM)
    # A multiple of eight, as tensor cores have them.
    size = -(-pixels // (8 * blocks)) * 8
    array = tf.pad(tf.reshape(array, (-1, pixels, numbers)), ((0, 0), (0, blocks * size - pixels), (0, 0)))
    return tf.reshape(array, (-1, size, numbers))
