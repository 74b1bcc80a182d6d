"""VarNet's field of experts for PyTorch on an NVIDIA GPU: the Triton kernels of `tf_models.kernels.experts_jax_gpu`.

`tf_models.kernels.field_of_experts` defines what they compute, and takes over where this module does not run.

Arrays are those of `tf_models.kernels.field_of_experts`: images `(batch, y, x, 2)`, features `(batch, y, x, filter)`,
filters `(y, x, 2, filter)`, weights `(basis, filter)`.
"""

from __future__ import annotations

import torch
import triton
from torch.nn import functional

from tf_models.backend.ops import Tensor
from tf_models.kernels import triton_jax_gpu
from tf_models.kernels.triton_torch import Shape, launch

# Pixels that a program computes, along x in `transposed_conv`.
_GROUP = 8
# Pixels, values of the reduced axis in a step, warps and stages of each kernel; the fastest of those tried on an H200.
_CONVOLVE = {"BM": 128, "BK": 32, "num_warps": 4, "num_stages": 1}
_SLOPE = {"BM": 128, "BK": 32, "num_warps": 4, "num_stages": 1}
_TRANSPOSED = {"BM": 64, "BK": 32, "num_warps": 2, "num_stages": 3}
_FILTERS = {"BM": 128, "BK": 32, "num_warps": 4, "num_stages": 3}
_RBF = {"BM": 64, "num_warps": 2, "num_stages": 1}
_FILTER_PROGRAMS, _RBF_PROGRAMS = 1056, 2112


def convolve_and_activate(padded: Tensor, kernel: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the valid convolution z = K u and phi(z), each `(batch, y, x, filter)`."""
    shape = _features_shape(padded, kernel)
    empty = padded[0, 0, 0]
    return _convolve(padded, kernel, weights, empty, shape, with_slope=False, **_CONVOLVE)


def convolve_and_slope(padded: Tensor, kernel: Tensor, weights: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the valid convolution g = K u and g phi'(z) for z = `values`, each `(batch, y, x, filter)`."""
    return _convolve(padded, kernel, weights, values, tuple(values.shape), with_slope=True, **_SLOPE)


def gradients(
    padded: Tensor, kernel: Tensor, weights: Tensor, values: Tensor, activated: Tensor, padded_upstream: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by the padded image, the filters and the weights, see `field_of_experts`.

    Args:
        padded: The padded image u.
        kernel: Filters K.
        weights: Weights of the Gaussians.
        values: K u.
        activated: phi(K u).
        padded_upstream: The gradient by the sum over the filters, padded with zeros like the image.
    """
    size_y, size_x = kernel.shape[:2]
    grad_activated, grad_values = convolve_and_slope(padded_upstream, kernel, weights, values)
    grad_weights = radial_basis_gradient(values, grad_activated, weights.shape[0])
    grad_kernel = filter_gradient(padded, grad_values, (size_y, size_x))
    grad_kernel = grad_kernel + filter_gradient(padded_upstream, activated, (size_y, size_x))
    return transposed_conv(grad_values, kernel, size_y - 1, size_x - 1), grad_kernel, grad_weights


def transposed_conv(features: Tensor, kernel: Tensor, pad_y: int = 0, pad_x: int = 0) -> Tensor:
    """As `field_of_experts.transposed_conv_valid` of features with zeros around them: `pad_y`, `pad_x` on each side."""
    size_y, size_x, _, filters = kernel.shape
    batch, height, width, _ = features.shape
    height, width = height + 2 * pad_y - size_y + 1, width + 2 * pad_x - size_x + 1
    # The filters of `_GROUP` neighbouring pixels side by side, each shifted by its pixel.
    adjoint = kernel.flip((0, 1)).transpose(2, 3)
    padded = functional.pad(adjoint, (0, 0, 0, 0, _GROUP - 1, _GROUP - 1))
    columns = size_x + _GROUP - 1
    shifted = [padded[:, _GROUP - 1 - x : _GROUP - 1 - x + columns] for x in range(_GROUP)]
    matrix = torch.stack(shifted, dim=3).reshape(size_y, columns * filters, 2 * _GROUP)
    row = _round_up(matrix.shape[1], _TRANSPOSED["BK"])
    matrix = functional.pad(matrix, (0, 0, 0, row - matrix.shape[1]))
    groups = -(-width // _GROUP)
    rows = batch * height * groups
    (result,) = launch(
        triton_jax_gpu.transposed_kernel,
        [features, matrix],
        [rows, height, groups, width, features.shape[1], features.shape[2], pad_y, pad_x],
        [(batch, height, width, 2)],
        (-(-rows // _TRANSPOSED["BM"]),),
        **{"SIZE_Y": size_y, "F": filters, "ROW": row, "GROUP": _GROUP, **_TRANSPOSED},
    )
    return result


def filter_gradient(image: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    """As `field_of_experts.filter_gradient`."""
    batch, height, width, filters = features.shape
    rows = _round_up(2 * size[0] * size[1], _FILTERS["BM"])
    pixels, columns = batch * height * width, _columns(filters)
    (sums,) = launch(
        triton_jax_gpu.filters_kernel,
        [image, features],
        [
            pixels,
            height,
            width,
            image.shape[1],
            image.shape[2],
            -(-pixels // (_FILTER_PROGRAMS * _FILTERS["BK"])),
            rows,
        ],
        [(_FILTER_PROGRAMS, rows, columns)],
        (_FILTER_PROGRAMS, rows // _FILTERS["BM"]),
        **{"K": 2 * size[0] * size[1], "LINE": 2 * size[1], "F": filters, "FP": columns, **_FILTERS},
    )
    return sums.sum(0)[: 2 * size[0] * size[1], :filters].reshape(*size, 2, filters)


def radial_basis_gradient(values: Tensor, upstream: Tensor, basis: int) -> Tensor:
    """As `field_of_experts.radial_basis_gradient`."""
    batch, height, width, filters = values.shape
    pixels, columns, rows = batch * height * width, _columns(filters), triton.next_power_of_2(basis)
    (sums,) = launch(
        triton_jax_gpu.rbf_kernel,
        [values, upstream],
        [pixels, -(-pixels // (_RBF_PROGRAMS * _RBF["BM"]))],
        [(_RBF_PROGRAMS, rows, columns)],
        (_RBF_PROGRAMS,),
        **{"F": filters, "FP": columns, "NB": basis, "NBP": rows, **_RBF},
    )
    return sums.sum(0)[:basis, :filters]


def _convolve(
    padded: Tensor, kernel: Tensor, weights: Tensor, values: Tensor, shape: Shape, **options: int
) -> tuple[Tensor, Tensor]:
    size_y, size_x, _, filters = kernel.shape
    pixels, columns, reduced = shape[0] * shape[1] * shape[2], _columns(filters), 2 * size_y * size_x
    matrix = kernel.reshape(reduced, filters)
    matrix = functional.pad(matrix, (0, columns - filters, 0, _round_up(reduced, options["BK"]) - reduced))
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


def _features_shape(padded: Tensor, kernel: Tensor) -> Shape:
    batch, height, width, _ = padded.shape
    return batch, height - kernel.shape[0] + 1, width - kernel.shape[1] + 1, kernel.shape[3]


def _columns(filters: int) -> int:
    """Return the columns of a matrix product for that number of filters."""
    columns: int = max(16, triton.next_power_of_2(filters))
    return columns


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
