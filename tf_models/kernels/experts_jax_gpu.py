"""VarNet's field of experts as Triton kernels, for JAX on an NVIDIA GPU with tensor cores.

The convolutions are implicit matrix products, each in three products of TF32 that together have single precision (as in
`tf_models.kernels.jax_gpu.same_conv`). `tf_models.kernels.field_of_experts` defines what they compute, and takes over
where this module does not run. The package `jax-triton` compiles the kernels.

Arrays are those of `tf_models.kernels.field_of_experts`: images `(batch, y, x, 2)`, features `(batch, y, x, filter)`,
filters `(y, x, 2, filter)`, weights `(basis, filter)`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tf_models.backend.ops import Tensor
from tf_models.kernels import triton_tiles as tiles
from tf_models.kernels.triton_call import triton_call


def convolve_and_activate(padded: Tensor, kernel: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the valid convolution z = K u and phi(z), each `(batch, y, x, filter)`."""
    shape = tiles.features_shape(padded.shape, kernel.shape)
    empty = jnp.zeros((1,), padded.dtype)
    return tuple(_convolve(padded, kernel, weights, empty, shape, with_slope=False, **tiles.CONVOLVE))


def convolve_and_slope(padded: Tensor, kernel: Tensor, weights: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the valid convolution g = K u and g phi'(z) for z = `values`, each `(batch, y, x, filter)`."""
    return tuple(_convolve(padded, kernel, weights, values, values.shape, with_slope=True, **tiles.SLOPE))


def transposed_conv(features: Tensor, kernel: Tensor, pad_y: int = 0, pad_x: int = 0) -> Tensor:
    """As `field_of_experts.transposed_conv_valid` of features with zeros around them: `pad_y`, `pad_x` on each side."""
    size_y, size_x, _, filters = kernel.shape
    batch, height, width, _ = features.shape
    height, width = height + 2 * pad_y - size_y + 1, width + 2 * pad_x - size_x + 1
    # The filters of `tiles.GROUP` neighbouring pixels side by side, each shifted by its pixel.
    adjoint = jnp.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
    shifted = [jnp.pad(adjoint, ((0, 0), (x, tiles.GROUP - 1 - x), (0, 0), (0, 0))) for x in range(tiles.GROUP)]
    matrix = jnp.stack(shifted, axis=3).reshape(size_y, (size_x + tiles.GROUP - 1) * filters, 2 * tiles.GROUP)
    row = tiles.round_up(matrix.shape[1], tiles.TRANSPOSED["BK"])
    matrix = jnp.pad(matrix, ((0, 0), (0, row - matrix.shape[1]), (0, 0)))
    groups = -(-width // tiles.GROUP)
    rows = batch * height * groups
    return triton_call(
        features,
        matrix,
        *(rows, height, groups, width, features.shape[1], features.shape[2], pad_y, pad_x),
        kernel="triton_jax_gpu.transposed_kernel",
        out_shape=jax.ShapeDtypeStruct((batch, height, width, 2), features.dtype),
        grid=(-(-rows // tiles.TRANSPOSED["BM"]),),
        **{"SIZE_Y": size_y, "F": filters, "ROW": row, "GROUP": tiles.GROUP, **tiles.TRANSPOSED},
    )


def filter_gradient(image: Tensor, features: Tensor, size: tuple[int, int]) -> Tensor:
    """As `field_of_experts.filter_gradient`."""
    batch, height, width, filters = features.shape
    rows = tiles.round_up(2 * size[0] * size[1], tiles.FILTERS["BM"])
    pixels, columns = batch * height * width, tiles.columns(filters)
    sums = triton_call(
        image,
        features,
        *(pixels, height, width, image.shape[1], image.shape[2]),
        -(-pixels // (tiles.FILTER_PROGRAMS * tiles.FILTERS["BK"])),
        rows,
        kernel="triton_jax_gpu.filters_kernel",
        out_shape=jax.ShapeDtypeStruct((tiles.FILTER_PROGRAMS, rows, columns), features.dtype),
        grid=(tiles.FILTER_PROGRAMS, rows // tiles.FILTERS["BM"]),
        **{"K": 2 * size[0] * size[1], "LINE": 2 * size[1], "F": filters, "FP": columns, **tiles.FILTERS},
    )
    return jnp.sum(sums, axis=0)[: 2 * size[0] * size[1], :filters].reshape(*size, 2, filters)


def radial_basis_gradient(values: Tensor, upstream: Tensor, basis: int) -> Tensor:
    """As `field_of_experts.radial_basis_gradient`."""
    filters = values.shape[-1]
    pixels, columns, rows = values.size // filters, tiles.columns(filters), tiles.power_of_2(basis)
    sums = triton_call(
        values,
        upstream,
        *(pixels, -(-pixels // (tiles.RBF_PROGRAMS * tiles.RBF["BM"]))),
        kernel="triton_jax_gpu.rbf_kernel",
        out_shape=jax.ShapeDtypeStruct((tiles.RBF_PROGRAMS, rows, columns), values.dtype),
        grid=(tiles.RBF_PROGRAMS,),
        **{"F": filters, "FP": columns, "NB": basis, "NBP": rows, **tiles.RBF},
    )
    return jnp.sum(sums, axis=0)[:basis, :filters]


def _convolve(
    padded: Tensor, kernel: Tensor, weights: Tensor, values: Tensor, shape: tuple[int, ...], **options: int
) -> list[Tensor]:
    size_y, size_x, _, filters = kernel.shape
    pixels, columns, reduced = shape[0] * shape[1] * shape[2], tiles.columns(filters), 2 * size_y * size_x
    matrix = kernel.reshape(reduced, filters)
    matrix = jnp.pad(matrix, ((0, tiles.round_up(reduced, options["BK"]) - reduced), (0, columns - filters)))
    result = jax.ShapeDtypeStruct(shape, padded.dtype)
    return triton_call(
        padded,
        matrix,
        weights,
        values,
        *(pixels, shape[1], shape[2], padded.shape[1], padded.shape[2]),
        kernel="triton_jax_gpu.convolve_kernel",
        out_shape=[result, result],
        grid=(-(-pixels // options["BM"]),),
        **{"K": reduced, "LINE": 2 * size_x, "F": filters, "FP": columns, "NB": weights.shape[0]},
        **{"SLOPE" if name == "with_slope" else name: value for name, value in options.items()},
    )
