"""Versions for JAX on a GPU that are faster than the portable ones in `tf_models.kernels.same_conv`."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
from jax import lax

from tf_models.backend.ops import Tensor
from tf_models.kernels.triton_tiles import Halves


@cache
def has_tensor_cores() -> bool:
    """Return whether the GPU multiplies in TF32, as NVIDIA's GPUs do since compute capability 8.0."""
    device = jax.devices()[0]
    return device.platform == "gpu" and float(getattr(device, "compute_capability", "0")) >= 8


def same_conv(features: Tensor, kernel: Tensor) -> Tensor:
    """Convolve in single precision, as three convolutions in TF32, which together are faster on tensor cores.

    A number x is split into x = h + l + e, where h and l have 11 significant bits and |e| <= 2^-22 |x|. The product of
    two such sums leaves out only terms below 2^-21, and tensor cores add in single precision:

    ```
    f k = h_f h_k + (h_f l_k + l_f h_k)
    ```

    Args:
        features: `(batch, y, x, channels)`, float32.
        kernel: `(y, x, channels, filters)`, float32.

    Returns:
        `(batch, y, x, filters)`, float32.

    References:
        Ootomo and Yokota (2022), doi 10.1177/10943420221090256.
    """
    (high, low), (kernel_high, kernel_low) = _split(features), _split(kernel)
    return _conv(high, kernel_high) + (_conv(high, kernel_low) + _conv(low, kernel_high))


def _split(array: Tensor) -> tuple[Tensor, Tensor]:
    high = _rounded(array)
    return high, _rounded(array - high)


def _rounded(array: Tensor) -> Tensor:
    return lax.reduce_precision(array, exponent_bits=8, mantissa_bits=10)


def _conv(features: Tensor, kernel: Tensor) -> Tensor:
    numbers = ("NHWC", "HWIO", "NHWC")
    # The default of a GPU is TF32; of a CPU, single precision.
    precision = lax.Precision.DEFAULT
    return lax.conv_general_dilated(features, kernel, (1, 1), "SAME", dimension_numbers=numbers, precision=precision)


def halves(array: Tensor, size: tuple[int, int] = (1, 1), largest: Tensor | None = None) -> Halves:
    """Split numbers into pairs of halves, with the significant bits of two parts of `same_conv`.

    The unit brings the largest magnitude to 2^14 to 2^15. Numbers up to 2^17 times smaller keep 22 bits, and no error
    is larger than 2^-39 times the largest magnitude.
    What is not finite becomes NaN or infinite, and counts for nothing in the unit.

    Args:
        array: `(..., y, x, channels)`, float32.
        size: Odd sizes of a kernel, y and x: half of them are the margin of zeros on each side. Defaults to no margin.
        largest: A bound of all magnitudes, a scalar. Defaults to None, the largest finite one.
    """
    if largest is None:
        largest = jnp.max(jnp.where(jnp.isfinite(array), jnp.abs(array), 0))
    scale, unit = scale_and_unit(largest)
    scaled = array * scale
    # A mere conversion forth and back is one that XLA may leave out.
    high = lax.reduce_precision(scaled, exponent_bits=5, mantissa_bits=10)
    margins = [(0, 0)] * (array.ndim - 3) + [(size[0] // 2, size[0] // 2), (size[1] // 2, size[1] // 2), (0, 0)]
    high, low = (jnp.pad(part.astype("float16"), margins) for part in (high, scaled - high))
    return Halves(high, low, unit)


def scale_and_unit(largest: Tensor) -> tuple[Tensor, Tensor]:
    """Return the power of two that brings a number to 2^14 to 2^15, and its inverse, the unit of its pair of halves.

    Args:
        largest: A scalar of single precision, at least as large as all magnitudes.
    """
    # The bits of a float32 from 23 on are its exponent plus 127. Below 15, the scale would not be finite.
    exponent = jnp.maximum(lax.bitcast_convert_type(largest, jnp.int32) >> 23, 15)
    scale, unit = (lax.bitcast_convert_type(bits << 23, jnp.float32) for bits in (268 - exponent, exponent - 14))
    return scale, unit
