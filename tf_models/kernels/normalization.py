"""Batch normalisation of complex features, with a derivative that keeps little.

Features are `(batch, y, x, 2 * channels)`: first the real parts of all channels, then the imaginary parts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import keras
from keras import ops

from tf_models.backend.devices import runs_on_tensorflow_cpu
from tf_models.backend.ops import Tensor, custom_gradient, xla_on_cpu
from tf_models.backend.precision import single_precision, to_single_precision
from tf_models.backend.replicas import mean_over_replicas
from tf_models.kernels.triton_support import normalization_runs_in_triton

EPSILON = 1e-3


def batch_statistics(features: Tensor) -> list[Tensor]:
    """Return the complex mean m, `(2 * channels,)`, and the biased variance mean |x - m|^2, `(channels,)`.

    To automatic differentiation they are constants; `normalize` adds their part to the derivative.
    """
    features = ops.stop_gradient(features)
    if normalization_runs_in_triton(features.dtype, features.shape):
        from tf_models.kernels import normalization_jax_gpu

        own_mean, squares = normalization_jax_gpu.statistics(features)
        mean = mean_over_replicas(own_mean)
        squares = mean_over_replicas(squares + ops.square(own_mean - mean))
    elif keras.backend.backend() == "torch":
        from tf_models.kernels import normalization_torch

        mean, squares = normalization_torch.statistics(features)
    else:
        mean = _channel_means(features)
        squares = _channel_means(_squared_distance(features, mean))
    channels = squares.shape[0] // 2
    return [mean, squares[:channels] + squares[channels:]]


class _Kept(NamedTuple):
    """What the derivative of `normalize` needs of the forward pass."""

    features: Tensor
    mean: Tensor
    variance: Tensor
    scale: Tensor
    bias: Tensor
    result: Tensor | None  # only if it is rectified


def normalize(
    features: Tensor,
    mean: Tensor,
    variance: Tensor,
    bias: Tensor | None = None,
    rectify: bool = False,
    of_batch: bool = False,
) -> Tensor:
    """Normalize features, optionally followed by a bias and a ReLU of real and imaginary part.

    ```
    y = (x - m) / sqrt(v + 1e-3) + bias,   rectified: max(0, y)
    ```

    Args:
        features: x, `(batch, y, x, 2 * channels)`.
        mean: m, `(2 * channels,)`.
        variance: v, `(channels,)`.
        bias: `(2 * channels,)`. Defaults to None, no bias.
        rectify: Set negative values to 0. Defaults to False.
        of_batch: m and v are the statistics of x itself (`batch_statistics`), and the derivative goes through them,
            too. Defaults to False: they are constants.

    Returns:
        y, of the shape and type of x.
    """
    bias = ops.zeros_like(mean) if bias is None else bias
    fast = of_batch and normalization_runs_in_triton(features.dtype, features.shape)

    def forward(features: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, _Kept]:
        scale = ops.tile(ops.rsqrt(variance + EPSILON), 2)
        result = (_rectified if rectify else _affine)(features, mean, scale, bias)
        return result, _Kept(features, mean, variance, scale, bias, result if rectify else None)

    def backward(kept: _Kept, upstream: Tensor) -> tuple[Tensor, ...]:
        features, mean, variance, scale, _, result = kept
        if fast:
            upstream, mean_upstream, projection = _fast_means(kept, upstream, rectify)
        else:
            upstream = _where_positive(upstream, result) if rectify else upstream
            mean_upstream = _channel_means(upstream)
        if of_batch:
            if not fast:
                projection = _channel_means(_times_normalized(upstream, features, mean, scale))
            # Real and imaginary part have one variance.
            channels = projection.shape[0] // 2
            projection = ops.tile(projection[:channels] + projection[channels:], 2)
            grad_features = _without_means(upstream, features, mean, scale, mean_upstream, projection)
        else:
            grad_features = upstream * ops.cast(scale, upstream.dtype)
        return (
            grad_features,
            mean_upstream * values_per_channel(upstream),
            ops.zeros_like(mean),
            ops.zeros_like(variance),
        )

    constants = ops.stop_gradient(mean), ops.stop_gradient(variance)
    return custom_gradient(forward, backward)(features, bias, *constants)


def _fast_means(kept: _Kept, upstream: Tensor, rectify: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient before the ReLU, its mean, and the mean of its product with the normalized features."""
    from tf_models.kernels import normalization_jax_gpu

    affine = (kept.features, kept.mean, kept.scale, kept.bias)
    means = normalization_jax_gpu.upstream_means(upstream, *affine, rectify)
    if rectify:
        # Computed anew: to store which values are positive takes a pass of its own.
        upstream = _where_positive(upstream, _affine(*affine))
    return upstream, *map(mean_over_replicas, means)


def values_per_channel(features: Tensor) -> Tensor | float:
    """Return the number of pixels of all slices: a plain number if it is known, which goes to no GPU by itself."""
    shape = features.shape[:3]
    if None in shape:
        return ops.cast(ops.prod(ops.shape(features)[:3]), single_precision(features))
    return float(math.prod(shape))


def _channel_means(features: Tensor) -> Tensor:
    """Return the mean over pixels and the whole batch, whose slices several devices may share, `(channel,)`."""
    features = to_single_precision(features)
    if not runs_on_tensorflow_cpu():
        return mean_over_replicas(ops.mean(features, axis=(0, 1, 2)))
    # A matrix product is several times faster there than a reduction.
    flat = ops.reshape(features, (-1, features.shape[-1]))
    ones = ops.ones_like(flat[:, :1])
    return (ops.transpose(ones) @ flat)[0] / ops.sum(ones)


@xla_on_cpu
def _squared_distance(features: Tensor, mean: Tensor) -> Tensor:
    return ops.square(to_single_precision(features) - mean)


@xla_on_cpu
def _affine(features: Tensor, mean: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return ops.cast((to_single_precision(features) - mean) * scale + bias, features.dtype)


@xla_on_cpu
def _rectified(features: Tensor, mean: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return ops.cast(ops.relu((to_single_precision(features) - mean) * scale + bias), features.dtype)


def _where_positive(upstream: Tensor, result: Tensor) -> Tensor:
    if runs_on_tensorflow_cpu():
        import tensorflow as tf

        # In place if nothing else needs the gradient.
        return tf.raw_ops.ReluGrad(gradients=upstream, features=result)
    return ops.where(result > 0, upstream, ops.zeros_like(upstream))


@xla_on_cpu
def _times_normalized(upstream: Tensor, features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return to_single_precision(upstream) * (to_single_precision(features) - mean) * scale


@xla_on_cpu
def _without_means(
    upstream: Tensor, features: Tensor, mean: Tensor, scale: Tensor, mean_upstream: Tensor, projection: Tensor
) -> Tensor:
    normalized = (to_single_precision(features) - mean) * scale
    return ops.cast(scale * (to_single_precision(upstream) - mean_upstream - normalized * projection), features.dtype)
