"""MoDL's convolutions of many channels for PyTorch on an NVIDIA GPU: the Triton kernels of `convolution_jax_gpu`.

Numbers are pairs of halves, see `tf_models.kernels.jax_gpu.halves`.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch.nn import functional

from tf_models.backend.ops import Tensor
from tf_models.backend.torch_compile import compiled_on_torch_gpu
from tf_models.kernels import triton_tiles as tiles
from tf_models.kernels.triton_launch import Result, launch

# Two arrays of float16 and a power of 2: numbers are `unit * (high + low)`.
Halves: TypeAlias = tuple[Tensor, Tensor, Tensor]


def convolve(features: Tensor, kernel: Tensor) -> Tensor:
    """Compute `tf_models.kernels.same_conv.convolve`; numbers of channels are powers of 2, at least 16."""
    return _convolve(halves(features, kernel.shape[0], kernel.shape[1]), kernel)


def gradients(features: Tensor, kernel: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of `convolve` by features and kernel."""
    size_y, size_x = kernel.shape[:2]
    pairs = halves(upstream, size_y, size_x)
    grad_kernel = _kernel_gradient(halves(features, size_y, size_x), pairs, (size_y, size_x))
    return _convolve(pairs, kernel.flip((0, 1)).transpose(2, 3)), grad_kernel


@compiled_on_torch_gpu
def halves(array: Tensor, size_y: int = 1, size_x: int = 1) -> Halves:
    """Compute `tf_models.kernels.jax_gpu.halves`, with the margin of zeros that a kernel of that size needs."""
    largest = torch.where(array.isfinite(), array.abs(), 0).amax()
    scale, unit = scale_and_unit(largest)
    scaled = array * scale
    # By its bits, because the compiler leaves out a conversion forth and back.
    high = ((scaled.view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)
    margins = (0, 0, size_x // 2, size_x // 2, size_y // 2, size_y // 2)
    return functional.pad(high.half(), margins), functional.pad((scaled - high).half(), margins), unit


def scale_and_unit(largest: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `tf_models.kernels.jax_gpu.scale_and_unit`."""
    exponent = torch.clamp(largest.view(torch.int32) >> 23, min=15)
    scale, unit = ((bits << 23).view(torch.float32) for bits in (268 - exponent, exponent - 14))
    return scale, unit


def _convolve(features: Halves, kernel: Tensor) -> Tensor:
    size_y, size_x, channels, filters = kernel.shape
    high, low, unit = features
    matrix_high, matrix_low, matrix_unit = halves(kernel.contiguous())
    batch, height, width, first, rows = tiles.same_conv_layout(high.shape, (size_y, size_x))
    (result,) = launch(
        "triton_convolution.same_conv_kernel",
        [high, low, matrix_high, matrix_low, torch.stack([unit, matrix_unit])],
        [first, rows, height, width],
        [Result((batch, height, width, filters))],
        (-(-rows // tiles.SAME_CONV["BM"]),),
        **{"SIZE_Y": size_y, "SIZE_X": size_x, "C": channels, "F": filters, **tiles.SAME_CONV},
    )
    return result


def _kernel_gradient(features: Halves, upstream: Halves, size: tuple[int, int]) -> Tensor:
    (high, low, unit), (upstream_high, upstream_low, upstream_unit) = features, upstream
    channels, filters = high.shape[-1], upstream_high.shape[-1]
    _, _, width, first, rows = tiles.same_conv_layout(high.shape, size)
    taps = size[0] * size[1]
    (sums,) = launch(
        "triton_convolution.kernel_gradient_kernel",
        [high, low, upstream_high, upstream_low, torch.stack([unit, upstream_unit])],
        [first, rows, width, -(-rows // (tiles.KERNEL_GRADIENT_PROGRAMS * tiles.KERNEL_GRADIENT["BK"]))],
        [Result((tiles.KERNEL_GRADIENT_PROGRAMS, taps, channels, filters))],
        (tiles.KERNEL_GRADIENT_PROGRAMS, taps // 3 if size[1] == 3 else taps),
        **{"SIZE_Y": size[0], "SIZE_X": size[1], "C": channels, "F": filters, **tiles.KERNEL_GRADIENT},
    )
    return sums.sum(0).reshape(*size, channels, filters)
