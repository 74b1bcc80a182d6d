"""A derivative of MoDL's convolutions as a Triton kernel, for JAX on an NVIDIA GPU with tensor cores."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax_triton

from tf_models.backend.ops import Tensor
from tf_models.kernels import triton_jax_gpu

# Pixels in a step, warps and stages; the fastest of those tried on an H200.
_OPTIONS = {"BK": 32, "num_warps": 2, "num_stages": 1}
_PROGRAMS = 528


def kernel_gradient(features: Tensor, upstream: Tensor, size: tuple[int, int]) -> Tensor:
    """As `tf_models.kernels.same_conv.kernel_gradient`, for numbers of channels that are powers of 2, at least 16."""
    batch, height, width, channels = features.shape
    filters, pixels = upstream.shape[-1], batch * height * width
    sums = jax_triton.triton_call(
        features,
        upstream,
        *(pixels, height, width, -(-pixels // (_PROGRAMS * _OPTIONS["BK"]))),
        kernel=triton_jax_gpu.kernel_gradient_kernel,
        out_shape=jax.ShapeDtypeStruct((_PROGRAMS, *size, channels, filters), features.dtype),
        grid=(_PROGRAMS, size[0] * size[1]),
        **{"SIZE_Y": size[0], "SIZE_X": size[1], "C": channels, "F": filters, **_OPTIONS},
    )
    return jnp.sum(sums, axis=0)
