"""VarNet's field of experts for PyTorch on an NVIDIA GPU: the Triton kernels of `tf_models.kernels.experts_jax_gpu`.

`tf_models.kernels.field_of_experts` defines what they compute, and takes over where this module does not run.

Arrays are those of `tf_models.kernels.field_of_experts`: images `(batch, y, x, 2)`, features `(batch, y, x, filter)`,
filters `(y, x, 2, filter)`, weights `(basis, filter)`.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from tf_models.backend.ops import Tensor
from tf_models.kernels import triton_jax_gpu
from tf_models.kernels import triton_tiles as tiles
from tf_models.kernels.triton_tiles import Shape
from tf_models.kernels.triton_torch import launch


def convolve_and_activate(padded: Tensor, kernel: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the valid convolution z = K u and phi(z), each `(batch, y, x, filter)`."""
    shape = tiles.features_shape(tuple(padded.shape), tuple(kernel.shape))
    empty = padded[0, 0, 0]
    return _convolve(padded, kernel, weights, empty, shape, with_slope=False, **tiles.CONVOLVE)


def convolve_and_slope(padded: Tensor, kernel: Tensor, weights: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the valid convolution g = K u and g phi'(z) for z = `values`, each `(batch, y, x, filter)`."""
    return _convolve(padded, kernel, weights, values, tuple(values.shape), with_slope=True, **tiles.SLOPE)


def transposed_conv(features: Tensor, kernel: Tensor, pad_y: int = 0, pad_x: int = 0) -> Tensor:
    """As `field_of_experts.transposed_conv_valid` of features with zeros around them: `pad_y`, `pad_x` on each side."""
    size_y, size_x, _, filters = kernel.shape
    batch, height, width, _ = features.shape
    height, width = height + 2 * pad_y - size_y + 1, width + 2 * pad_x - size_x + 1
    # The filters of `tiles.GROUP` neighbouring pixels side by side, each shifted by its pixel.
    adjoint = kernel.flip((0, 1)).transpose(2, 3)
    padded = functional.pad(adjoint, (0, 0, 0, 0, tiles.GROUP - 1, tiles.GROUP - 1))
    columns = size_x + tiles.GROUP - 1
    shifted = [padded[:, tiles.GROUP - 1 - x : tiles.GROUP - 1 - x + columns] for x in range(tiles.GROUP)]
    matrix = torch.stack(shifted, dim=3).reshape(size_y, columns * filters, 2 * tiles.GROUP)
    row = tiles.round_up(matrix.shape[1], tiles.TRANSPOSED["BK"])
    matrix = functional.pad(matrix, (0, 0, 0, row - matrix.shape[1]))
    groups = -(-width // tiles.GROUP)
    rows = batch * height * groups
    (result,) = launch(
        triton_jax_gpu.transposed_kernel,
        [features, matrix],
        [rows, height, groups, width, features.shape[1], features.shape[2], pad_y, pad_x],
        [(batch, height, width, 2)],
        (-(-rows // tiles.TRANSPOSED["BM"]),),
        **{"SIZE_Y": size_y, "F": filters, "ROW": row, "GROUP": tiles.GROUP, **tiles.TRANSPOSED},
    )
    return result


def filter_gradient(image: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    """As `field_of_experts.filter_gradient`."""
    batch, height, width, filters = features.shape
    rows = tiles.round_up(2 * size[0] * size[1], tiles.FILTERS["BM"])
    pixels, columns = batch * height * width, tiles.columns(filters)
    (sums,) = launch(
        triton_jax_gpu.filters_kernel,
        [image, features],
        [
            pixels,
            height,
            width,
            image.shape[1],
            image.shape[2],
            -(-pixels // (tiles.FILTER_PROGRAMS * tiles.FILTERS["BK"])),
            rows,
        ],
        [(tiles.FILTER_PROGRAMS, rows, columns)],
        (tiles.FILTER_PROGRAMS, rows // tiles.FILTERS["BM"]),
        **{"K": 2 * size[0] * size[1], "LINE": 2 * size[1], "F": filters, "FP": columns, **tiles.FILTERS},
    )
    return sums.sum(0)[: 2 * size[0] * size[1], :filters].reshape(*size, 2, filters)


def radial_basis_gradient(values: Tensor, upstream: Tensor, basis: int) -> Tensor:
    """As `field_of_experts.radial_basis_gradient`."""
    batch, height, width, filters = values.shape
    pixels, columns, rows = batch * height * width, tiles.columns(filters), tiles.power_of_2(basis)
    (sums,) = launch(
        triton_jax_gpu.rbf_kernel,
        [values, upstream],
        [pixels, -(-pixels // (tiles.RBF_PROGRAMS * tiles.RBF["BM"]))],
        [(tiles.RBF_PROGRAMS, rows, columns)],
        (tiles.RBF_PROGRAMS,),
        **{"F": filters, "FP": columns, "NB": basis, "NBP": rows, **tiles.RBF},
    )
    return sums.sum(0)[:basis, :filters]


def _convolve(
    padded: Tensor, kernel: Tensor, weights: Tensor, values: Tensor, shape: Shape, **options: int
) -> tuple[Tensor, Tensor]:
    size_y, size_x, _, filters = kernel.shape
    pixels, columns, reduced = shape[0] * shape[1] * shape[2], tiles.columns(filters), 2 * size_y * size_x
    matrix = kernel.reshape(reduced, filters)
    matrix = functional.pad(matrix, (0, columns - filters, 0, tiles.round_up(reduced, options["BK"]) - reduced))
    convolved, result = launch(
        triton_jax_gpu.convolve_kernel,
        [padded, matrix, weights, values],
        [pixels, shape[1], shape[2], padded.shape[1], padded.shape[2]],
        [shape, shape],
        (-(-pixels // options["BM"]),),
        **{"K": reduced, "LINE": 2 * size_x, "F": filters, "FP": columns, "NB": weights.shape[0]},
        **{"SLOPE" if name == "with_slope" else name: value for name, value in options.items()},
    )
    return convolved, result
