"""MoDL's convolutions of many channels as Triton kernels, for JAX on an NVIDIA GPU with tensor cores.

Tensor cores multiply in half precision twice as fast as in TF32, with as many significant bits. So a number is a pair
of halves (`tf_models.kernels.jax_gpu.halves`), and one product of single precision is three of half precision.
"""

from __future__ import annotations

from typing import TypeAlias

import jax
import jax.numpy as jnp

from tf_models.backend.ops import Tensor
from tf_models.kernels import triton_tiles as tiles
from tf_models.kernels.field_of_experts import adjoint_kernel
from tf_models.kernels.jax_gpu import halves
from tf_models.kernels.triton_call import triton_call
from tf_models.kernels.triton_tiles import Halves

# What `backward` needs: features, kernel and the bound of `forward`, if there is one.
_Kept: TypeAlias = tuple[Halves, Tensor, tuple[Tensor, ...]]


def forward(features: Tensor, kernel: Tensor, *largest: Tensor) -> tuple[Tensor, _Kept]:
    """Compute `tf_models.kernels.same_conv.same_conv`, and return what `backward` needs, too.

    Args:
        features: `(batch, y, x, channels)`, float32.
        kernel: `(y, x, channels, filters)`, float32. Numbers of channels and filters are powers of 2, at least 16.
        *largest: A bound of the magnitudes of the features, or nothing.
    """
    pairs = halves(features, kernel.shape[:2], *largest)
    return _convolve(pairs, kernel), (pairs, kernel, largest)


def backward(kept: _Kept, upstream: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients by features and kernel, and 0 for the bound."""
    features, kernel, largest = kept
    pairs = halves(upstream, kernel.shape[:2])
    grad_kernel = _kernel_gradient(features, pairs, kernel.shape[:2])
    return _convolve(pairs, adjoint_kernel(kernel)), grad_kernel, *map(jnp.zeros_like, largest)


def _convolve(features: Halves, kernel: Tensor) -> Tensor:
    size_y, size_x, channels, filters = kernel.shape
    matrix = halves(kernel)
    batch, height, width, first, rows = tiles.same_conv_layout(features.high.shape, (size_y, size_x))
    return triton_call(
        *(features.high, features.low, matrix.high, matrix.low),
        jnp.stack([features.unit, matrix.unit]),
        *(first, rows, height, width),
        kernel="triton_convolution.same_conv_kernel",
        out_shape=jax.ShapeDtypeStruct((batch, height, width, filters), kernel.dtype),
        grid=(-(-rows // tiles.SAME_CONV["BM"]),),
        **{"SIZE_Y": size_y, "SIZE_X": size_x, "C": channels, "F": filters, **tiles.SAME_CONV},
    )


def _kernel_gradient(features: Halves, upstream: Halves, size: tuple[int, int]) -> Tensor:
    channels, filters = features.high.shape[-1], upstream.high.shape[-1]
    _, _, width, first, rows = tiles.same_conv_layout(features.high.shape, size)
    taps = size[0] * size[1]
    sums = triton_call(
        *(features.high, features.low, upstream.high, upstream.low),
        jnp.stack([features.unit, upstream.unit]),
        *(first, rows, width, -(-rows // (tiles.KERNEL_GRADIENT_PROGRAMS * tiles.KERNEL_GRADIENT["BK"]))),
        kernel="triton_convolution.kernel_gradient_kernel",
        out_shape=jax.ShapeDtypeStruct((tiles.KERNEL_GRADIENT_PROGRAMS, taps, channels, filters), features.unit.dtype),
        grid=(tiles.KERNEL_GRADIENT_PROGRAMS, taps // 3 if size[1] == 3 else taps),
        **{"SIZE_Y": size[0], "SIZE_X": size[1], "C": channels, "F": filters, **tiles.KERNEL_GRADIENT},
    )
    return jnp.sum(sums, axis=0).reshape(*size, channels, filters)
