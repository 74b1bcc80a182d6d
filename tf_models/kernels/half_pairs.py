"""Numbers of single precision as pairs of halves, which tensor cores multiply twice as fast as TF32.

A half has as many significant bits as TF32. With a common power of two, a pair of them takes as much memory as one
number of single precision.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from tf_models.backend.ops import Tensor


class Halves(NamedTuple):
    """Numbers as `unit * (high + low)`, two arrays of float16 and a power of 2."""

    high: Tensor
    low: Tensor
    unit: Tensor


def halves(array: Tensor, margins: tuple[tuple[int, int], ...] | None = None) -> Halves:
    """Split numbers into pairs of halves, see `tf_models.kernels.jax_gpu.halves`.

    Args:
        array: float32.
        margins: Zeros before and behind along each axis. Defaults to None, no zeros.
    """
    if margins is not None:
        array = ops.pad(array, margins)
    if keras.backend.backend() == "jax":
        from tf_models.kernels import jax_gpu

        return Halves(*jax_gpu.halves(array))
    from tf_models.kernels import convolution_triton_torch

    return Halves(*convolution_triton_torch.halves(array.contiguous()))


def scale_and_unit(largest: Tensor) -> tuple[Tensor, Tensor]:
    """Return the power of two that brings a number to 2^14 to 2^15, and its inverse, the unit of its pair of halves.

    Args:
        largest: A scalar of single precision, at least as large as all magnitudes.
    """
    # The bits of a float32 from 23 on are its exponent plus 127. Below 15, the scale would not be finite.
    exponent = ops.maximum(ops.right_shift(ops.view(largest, "int32"), 23), 15)
    scale, unit = (ops.view(ops.left_shift(bits, 23), "float32") for bits in (268 - exponent, exponent - 14))
    return scale, unit
