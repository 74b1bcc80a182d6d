"""Batch normalisation, ReLU and the next convolution as one function that keeps only its input, for PyTorch.

JAX's compiler does the same with `tf_models.backend.ops.recomputed`.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from tf_models.backend.ops import Tensor, custom_gradient
from tf_models.kernels import normalization_torch
from tf_models.kernels.same_conv import convolution_gradients, convolve


class _Kept(NamedTuple):
    """What the derivative needs of the forward pass."""

    features: Tensor
    bias: Tensor
    kernel: Tensor
    mean: Tensor
    variance: Tensor


def normalized_conv(
    features: Tensor, statistics: list[Tensor], bias: Tensor | None, kernel: Tensor, of_batch: bool
) -> Tensor:
    """Compute `same_conv(normalize(features, *statistics, bias, rectify=True, of_batch=of_batch), kernel)`.

    Args:
        features: `(batch, y, x, 2 * channels)`.
        statistics: Mean and variance, see `tf_models.kernels.normalization.normalize`.
        bias: `(2 * channels,)`, or None.
        kernel: `(y, x, 2 * channels, filters)`.
        of_batch: Whether the statistics are those of the features themselves.

    Returns:
        `(batch, y, x, filters)`.
    """
    mean, variance = map(ops.stop_gradient, statistics)
    bias = ops.zeros_like(mean) if bias is None else bias

    def forward(*arguments: Tensor) -> tuple[Tensor, _Kept]:
        kept = _Kept(*arguments)
        return convolve(_normalized(kept), kept.kernel), kept

    def backward(kept: _Kept, upstream: Tensor) -> tuple[Tensor | None, ...]:
        features, bias, kernel, mean, variance = kept
        upstream, grad_kernel = convolution_gradients((_normalized(kept), kernel), upstream)
        grad_features, grad_bias = normalization_torch.gradients(features, mean, variance, bias, upstream, of_batch)
        return grad_features, grad_bias, grad_kernel, None, None

    return custom_gradient(forward, backward)(features, bias, kernel, mean, variance)


def _normalized(kept: _Kept) -> Tensor:
    return normalization_torch.rectified(kept.features, kept.mean, kept.variance, kept.bias)
