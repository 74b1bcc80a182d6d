"""Batch normalisation of complex features, with a derivative that keeps little.

Features are `(batch, y, x, 2 * channels)`: first the real parts of all channels, then the imaginary parts.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from tf_models.backend.ops import Tensor, channel_means, fused, runs_on_tensorflow_cpu, widen
from tf_models.training.data_parallel import mean as mean_over_devices

EPSILON = 1e-3


def batch_statistics(features: Tensor) -> list[Tensor]:
    """Return the complex mean, `(2 * channels,)`, and the biased variance mean |x - m|^2, `(channels,)`.

    They are constants to a derivative; `normalize` takes care of their part in it.
    """
    features = ops.stop_gradient(features)
    mean = _channel_means(features)
    squares = _channel_means(_squared_distance(features, mean))
    channels = squares.shape[0] // 2
    return [mean, squares[:channels] + squares[channels:]]


def normalize(
    features: Tensor,
    mean: Tensor,
    variance: Tensor,
    bias: Tensor | None = None,
    rectify: bool = False,
    of_batch: bool = False,
) -> Tensor:
    """Return (x - m) / sqrt(v + 1e-3), if wanted with a bias and max(0, .) of each part.

    Args:
        features: x.
        mean: m, `(2 * channels,)`.
        variance: v, `(channels,)`.
        bias: Added then, `(2 * channels,)`.
        rectify: Whether negative parts become 0.
        of_batch: Whether m and v are those of x (`batch_statistics`): the derivative is that of both.
    """
    bias = ops.zeros_like(mean) if bias is None else bias

    @ops.custom_gradient
    def block(features: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Any:
        scale = ops.tile(ops.rsqrt(variance + EPSILON), 2)
        result = (_rectified if rectify else _affine)(features, mean, scale, bias)

        def gradient(*arguments: Tensor, upstream: Tensor = None) -> tuple[Tensor, ...]:
            if upstream is None:
                (upstream,) = arguments
            if rectify:
                upstream = _where_positive(upstream, result)
            mean_upstream = _channel_means(upstream)
            values = ops.cast(ops.size(upstream) / upstream.shape[-1], mean.dtype)
            if of_batch:
                # The variance is that of both parts together.
                along = _channel_means(_times_normalized(upstream, features, mean, scale))
                channels = along.shape[0] // 2
                along = ops.tile(along[:channels] + along[channels:], 2)
                of_features = _without_means(upstream, features, mean, scale, mean_upstream, along)
            else:
                of_features = upstream * ops.cast(scale, upstream.dtype)
            return of_features, mean_upstream * values, ops.zeros_like(mean), ops.zeros_like(variance)

        return result, gradient

    return block(features, bias, ops.stop_gradient(mean), ops.stop_gradient(variance))


def _channel_means(features: Tensor) -> Tensor:
    """Return the mean over the batch, whose slices several devices may share, and all pixels, `(channel,)`."""
    return mean_over_devices(channel_means(features))


@fused
def _squared_distance(features: Tensor, mean: Tensor) -> Tensor:
    return ops.square(widen(features) - mean)


@fused
def _affine(features: Tensor, mean: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return ops.cast((widen(features) - mean) * scale + bias, features.dtype)


@fused
def _rectified(features: Tensor, mean: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return ops.cast(ops.maximum((widen(features) - mean) * scale + bias, 0), features.dtype)


def _where_positive(upstream: Tensor, result: Tensor) -> Tensor:
    if runs_on_tensorflow_cpu():
        import tensorflow as tf

        # In place, where nothing else needs the gradient.
        return tf.raw_ops.ReluGrad(gradients=upstream, features=result)
    return ops.where(result > 0, upstream, ops.zeros_like(upstream))


@fused
def _times_normalized(upstream: Tensor, features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return widen(upstream) * (widen(features) - mean) * scale


@fused
def _without_means(
    upstream: Tensor, features: Tensor, mean: Tensor, scale: Tensor, mean_upstream: Tensor, along: Tensor
) -> Tensor:
    of_features = scale * (widen(upstream) - mean_upstream - (widen(features) - mean) * scale * along)
    return ops.cast(of_features, features.dtype)
