"""Sums of batch normalisation as Triton kernels, for JAX on an NVIDIA GPU: one pass over the features for all of them.

`tf_models.kernels.normalization` defines them, and takes over where this module does not run.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tf_models.backend.ops import Tensor
from tf_models.kernels.triton_call import triton_call

# Pixels in a step, warps and stages; the fastest of those tried on an H200.
_STATISTICS = {"BM": 64, "num_warps": 4, "num_stages": 2}
_UPSTREAM = {"BM": 32, "num_warps": 4, "num_stages": 2}
_PROGRAMS = 1056


def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each channel and the mean squared distance from it, each `(channels,)`."""
    channels = features.shape[-1]
    pixels = features.size // channels
    tiles = -(-pixels // (_PROGRAMS * _STATISTICS["BM"]))
    parts = triton_call(
        features,
        *(pixels, tiles),
        kernel="triton_normalization.statistics_kernel",
        out_shape=jax.ShapeDtypeStruct((_PROGRAMS, 2, channels), features.dtype),
        grid=(_PROGRAMS,),
        **{"C": channels, **_STATISTICS},
    )
    means, squares = parts[:, 0], parts[:, 1]
    of_program = tiles * _STATISTICS["BM"]
    weights = jnp.clip(pixels - of_program * jnp.arange(_PROGRAMS), 0, of_program)[:, None].astype(features.dtype)
    weights = weights / pixels
    mean = jnp.sum(weights * means, axis=0)
    return mean, jnp.sum(squares / pixels + weights * jnp.square(means - mean), axis=0)


def upstream_means(
    upstream: Tensor, features: Tensor, mean: Tensor, scale: Tensor, bias: Tensor, rectify: bool
) -> tuple[Tensor, Tensor]:
    """Return the means over pixels of the gradient before a ReLU, and of its product with the normalized features.

    Args:
        upstream: Gradient by the result of `tf_models.kernels.normalization.normalize`, `(batch, y, x, channels)`.
        features: What was normalized, same shape.
        mean: `(channels,)`, like `scale` and `bias`.
        scale: See `mean`.
        bias: See `mean`.
        rectify: Whether a ReLU followed.
    """
    channels = features.shape[-1]
    pixels = features.size // channels
    sums = triton_call(
        *(upstream, features, jnp.stack([mean, scale, bias])),
        *(pixels, -(-pixels // (_PROGRAMS * _UPSTREAM["BM"]))),
        kernel="triton_normalization.upstream_kernel",
        out_shape=jax.ShapeDtypeStruct((_PROGRAMS, 2, channels), features.dtype),
        grid=(_PROGRAMS,),
        **{"C": channels, "RECTIFY": rectify, **_UPSTREAM},
    )
    found = jnp.sum(sums, axis=0) / pixels
    return found[0], found[1]
