"""VarNet's field of experts as Triton kernels, for JAX and PyTorch on an NVIDIA GPU with tensor cores.

The convolutions are implicit matrix products in half precision, three of which have single precision together.
`tf_models.kernels.field_of_experts` defines what they compute, and takes over where this module does not run.

Arrays are those of `tf_models.kernels.field_of_experts`: images `(batch, y, x, 2)`, features `(batch, y, x, filter)`,
filters `(y, x, 2, filter)`, weights `(basis, filter)`. Features that only products take are pairs of halves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from keras import ops
from numpy.typing import NDArray

from tf_models.backend.ops import Tensor
from tf_models.backend.torch_compile import compiled_on_torch_gpu
from tf_models.kernels import triton_tiles as tiles
from tf_models.kernels.half_pairs import halves, scale_and_unit
from tf_models.kernels.padding import pad_with_zeros
from tf_models.kernels.triton_launch import Result, launch
from tf_models.kernels.triton_tiles import Halves, Shape

# Above the sum of all Gaussians at any z, and of the magnitudes of their derivatives, in units of 1 / sigma.
_LARGEST_SUM, _LARGEST_SLOPE = 2.6, 2.2


class Kept(NamedTuple):
    """What `backward` needs."""

    image: Halves
    kernel: Tensor
    weights: Tensor
    values: Tensor  # K u
    activated: Halves  # phi(K u)


def forward(padded: Tensor, kernel: Tensor, weights: Tensor) -> tuple[Tensor, Kept]:
    """Return `K^T phi(K u)` for a padded image u, and what `backward` needs."""
    image = pairs(padded, kernel.shape)
    values, activated = convolve_and_activate(image, kernel, weights, tiles.features_shape(padded.shape, kernel.shape))
    return transposed_conv(activated, kernel), Kept(image, kernel, weights, values, activated)


def backward(kept: Kept, padded_upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by the padded image, the filters and the weights.

    Args:
        kept: From `forward`.
        padded_upstream: The gradient by the result, with zeros around it up to the size of the padded image.
    """
    image, kernel, weights, values, activated = kept
    size = kernel.shape[:2]
    upstream = pairs(padded_upstream, kernel.shape)
    grad_activated, grad_values = convolve_and_slope(upstream, kernel, weights, values)
    grad_weights = radial_basis_gradient(values, grad_activated, weights.shape[0])
    grad_kernel = filter_gradient(image, grad_values, size) + filter_gradient(upstream, activated, size)
    return transposed_conv(grad_values, kernel, size[0] - 1, size[1] - 1), grad_kernel, grad_weights


def pairs(padded: Tensor, kernel_shape: Shape) -> Halves:
    """Return an image with zeros below and to the right of it, so that all patches of the kernels end inside."""
    below, right = tiles.patch_margins(padded.shape[1], padded.shape[2], kernel_shape)
    return halves(padded, ((0, 0), (0, below), (0, right), (0, 0)))


def convolve_and_activate(image: Halves, kernel: Tensor, weights: Tensor, shape: Shape) -> tuple[Tensor, Halves]:
    """Return the valid convolution z = K u and phi(z), each of the given shape `(batch, y, x, filter)`."""
    largest = _LARGEST_SUM * ops.max(ops.abs(weights))
    # Not read.
    values = image.unit
    return _convolve(image, kernel, weights, values, largest, shape, with_slope=False, **tiles.convolve(kernel.shape))


def convolve_and_slope(image: Halves, kernel: Tensor, weights: Tensor, values: Tensor) -> tuple[Tensor, Halves]:
    """Return the valid convolution g = K u and g phi'(z) for z = `values`, each `(batch, y, x, filter)`."""
    largest_convolved = 2.0**15 * image.unit * ops.max(ops.sum(ops.abs(kernel), axis=(0, 1, 2)))
    largest = _LARGEST_SLOPE * weights.shape[0] / 2 * ops.max(ops.abs(weights)) * largest_convolved
    options = tiles.slope(kernel.shape)
    return _convolve(image, kernel, weights, values, largest, tuple(values.shape), with_slope=True, **options)


def transposed_conv(features: Halves, kernel: Tensor, pad_y: int = 0, pad_x: int = 0) -> Tensor:
    """As `field_of_experts.transposed_conv_valid` of features with zeros around them: `pad_y`, `pad_x` on each side."""
    size_y, size_x, _, filters = kernel.shape
    batch, features_y, features_x, _ = features.high.shape
    height, width = features_y + 2 * pad_y - size_y + 1, features_x + 2 * pad_x - size_x + 1
    group_y, group_x, step = tiles.GROUP_Y, tiles.GROUP_X, tiles.TRANSPOSED["BK"]
    # The filters of all pixels of a group side by side, each shifted by its pixel.
    adjoint = ops.transpose(ops.flip(kernel, axis=(0, 1)), (0, 1, 3, 2))
    shifted = [
        pad_with_zeros(adjoint, ((y, group_y - 1 - y), (x, group_x - 1 - x), (0, 0), (0, 0)))
        for y in range(group_y)
        for x in range(group_x)
    ]
    matrix = ops.reshape(
        ops.stack(shifted, axis=3), (size_y + group_y - 1, (size_x + group_x - 1) * filters, 2 * group_y * group_x)
    )
    row = tiles.round_up(matrix.shape[1], step)
    matrix = halves(matrix, ((0, 0), (0, row - matrix.shape[1]), (0, 0)))
    line_groups = -(-width // group_x)
    groups = batch * -(-height // group_y) * line_groups
    (result,) = launch(
        "triton_experts.transposed_kernel",
        [features.high, features.low, matrix.high, matrix.low, ops.reshape(features.unit * matrix.unit, (1,))],
        [groups, line_groups, height, width, features_y, features_x, pad_y, pad_x],
        [Result((batch, height, width, 2))],
        (-(-groups // tiles.TRANSPOSED["BM"]),),
        **{"SIZE_Y": size_y, "F": filters, "ROW": row, "GROUP_Y": group_y, "GROUP_X": group_x, **tiles.TRANSPOSED},
    )
    return result


def filter_gradient(image: Halves, features: Halves, size: tuple[int, int]) -> Tensor:
    """As `field_of_experts.filter_gradient`; the image is from `pairs`."""
    batch, height, width, filters = features.high.shape
    line, columns, lines = tiles.patch_line(size[1]), tiles.columns(filters), tiles.FILTER_LINES
    blocks, line_groups = -(-size[0] // lines), -(-width // tiles.GROUP)
    groups = batch * height * line_groups
    (sums,) = launch(
        "triton_experts.filters_kernel",
        [image.high, image.low, features.high, features.low, ops.reshape(image.unit * features.unit, (1,))],
        [
            *(groups, line_groups, height, width, image.high.shape[1], image.high.shape[2]),
            -(-groups // (tiles.FILTER_PROGRAMS * tiles.FILTERS["BK"])),
        ],
        [Result((tiles.FILTER_PROGRAMS, blocks, tiles.GROUP, lines, line // 2, 2, columns))],
        (blocks, tiles.FILTER_PROGRAMS),
        **{"LINE": line, "LINES": lines, "F": filters, "FP": columns, **tiles.FILTERS},
    )
    return _add_patches(sums, tuple(size), filters)


@compiled_on_torch_gpu
def _add_patches(sums: Tensor, size: tuple[int, int], filters: int) -> Tensor:
    """Return the gradient by the filters from what the programs have summed, each for a group of pixels."""
    group, lines, half_line, columns = sums.shape[2], sums.shape[1] * sums.shape[3], sums.shape[4], sums.shape[6]
    sums = ops.transpose(ops.sum(sums, axis=0), (1, 0, 2, 3, 4, 5))
    sums = ops.reshape(sums, (group, lines, half_line, 2, columns))
    first, *others = (sums[pixel, : size[0], pixel : pixel + size[1], :, :filters] for pixel in range(group))
    return sum(others, first)


def radial_basis_gradient(values: Tensor, upstream: Tensor, basis: int) -> Tensor:
    """As `field_of_experts.radial_basis_gradient`."""
    batch, height, width, filters = values.shape
    pixels, columns, rows = batch * height * width, tiles.columns(filters), tiles.power_of_2(basis)
    (sums,) = launch(
        "triton_experts.rbf_kernel",
        [values, upstream],
        [pixels, -(-pixels // (tiles.RBF_PROGRAMS * tiles.RBF["BM"]))],
        [Result((tiles.RBF_PROGRAMS, rows, columns))],
        (tiles.RBF_PROGRAMS,),
        **{"F": filters, "FP": columns, "NB": basis, "NBP": rows, "BLOCK": tiles.block(basis), **tiles.RBF},
    )
    factors = ops.convert_to_tensor(np.exp2(-(offsets(basis)[:basis] ** 2)), "float32")
    return ops.sum(sums, axis=0)[:basis, :filters] * factors


def polynomials(weights: Tensor, columns: int) -> Tensor:
    """Return the coefficients of `triton_experts.activation`, and behind them those of its derivative.

    Args:
        weights: `(basis, filter)`.
        columns: Filters and zeros.
    """
    basis, filters = weights.shape
    own_offsets = offsets(basis)
    factors = np.stack([np.exp2(-(own_offsets**2)), own_offsets * np.exp2(-(own_offsets**2))])
    padded = pad_with_zeros(weights, ((0, len(own_offsets) - basis), (0, columns - filters)))
    return padded * ops.convert_to_tensor(factors, "float32")


def offsets(basis: int) -> NDArray[np.float64]:
    """Return the distance of each Gaussian from the centre of its block, `(whole blocks, 1)`, as `activation` does."""
    distance, block = basis / (basis - 1) * math.sqrt(math.log2(math.e) / 2), tiles.block(basis)
    return np.tile(np.arange(block) - (block - 1) / 2, -(-basis // block))[:, None] * distance


def _convolve(
    image: Halves, kernel: Tensor, weights: Tensor, values: Tensor, largest: Tensor, shape: Shape, **options: int
) -> tuple[Tensor, Halves]:
    (size_y, size_x, _, filters), basis = kernel.shape, weights.shape[0]
    line, columns, line_groups = tiles.patch_line(size_x), tiles.columns(filters), -(-shape[2] // tiles.GROUP)
    groups = shape[0] * shape[1] * line_groups
    # The filters of each pixel of a group, shifted by its pixel.
    flat = ops.reshape(kernel, (size_y, 2 * size_x, filters))
    shifted = [
        pad_with_zeros(flat, ((0, 0), (2 * pixel, line - 2 * (size_x + pixel)), (0, columns - filters)))
        for pixel in range(tiles.GROUP)
    ]
    matrix = halves(ops.stack(shifted, axis=1))
    scale, unit = scale_and_unit(largest)
    convolved, high, low = launch(
        "triton_experts.convolve_kernel",
        [
            *(image.high, image.low, matrix.high, matrix.low, polynomials(weights, columns)),
            *(ops.stack([image.unit * matrix.unit, scale]), values),
        ],
        [groups, line_groups, shape[1], shape[2], image.high.shape[1], image.high.shape[2]],
        [Result(shape), Result(shape, "float16"), Result(shape, "float16")],
        (-(-groups // options["BM"]),),
        **{"SIZE_Y": size_y, "LINE": line, "F": filters, "FP": columns, "NB": basis, "BLOCK": tiles.block(basis)},
        **{"SLOPE" if name == "with_slope" else name: value for name, value in options.items()},
    )
    return convolved, Halves(high, low, unit)
