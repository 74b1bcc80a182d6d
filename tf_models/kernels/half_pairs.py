"""Numbers of single precision as pairs of halves, on JAX and PyTorch; tensor cores multiply them twice as fast as TF32.

A half has as many significant bits as TF32. With a common power of two, a pair of them takes as much memory as one
number of single precision.
"""

from __future__ import annotations

from typing import Any

import keras

from tf_models.backend.ops import Tensor
from tf_models.kernels.padding import pad_with_zeros
from tf_models.kernels.triton_tiles import Halves


def halves(array: Tensor, margins: tuple[tuple[int, int], ...] | None = None) -> Halves:
    """Split numbers into pairs of halves, see `tf_models.kernels.jax_gpu.halves`.

    Args:
        array: float32.
        margins: Zeros before and behind along each axis. Defaults to None, no zeros.
    """
    if margins is not None:
        array = pad_with_zeros(array, margins)
    if keras.backend.backend() == "torch":
        array = array.contiguous()
    return Halves(*_of_backend().halves(array))


def scale_and_unit(largest: Tensor) -> tuple[Tensor, Tensor]:
    """Return a power of two and its inverse, see `tf_models.kernels.jax_gpu.scale_and_unit`."""
    scale, unit = _of_backend().scale_and_unit(largest)
    return scale, unit


def _of_backend() -> Any:
    if keras.backend.backend() == "jax":
        from tf_models.kernels import jax_gpu

        return jax_gpu
    from tf_models.kernels import convolution_triton_torch

    return convolution_triton_torch
