"""Batch normalisation and ReLU for PyTorch: on a GPU, each function is compiled into few passes over the features.

`tf_models.kernels.normalization` defines them.
"""

from __future__ import annotations

from tf_models.backend.ops import Tensor
from tf_models.backend.torch_compile import compiled_on_torch_gpu
from tf_models.kernels.normalization import EPSILON


@compiled_on_torch_gpu
def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each channel and the mean squared distance from it, each `(channels,)`."""
    features = _single_precision(features)
    mean = features.mean((0, 1, 2))
    return mean, (features - mean).square().mean((0, 1, 2))


@compiled_on_torch_gpu
def rectified(features: Tensor, mean: Tensor, variance: Tensor, bias: Tensor) -> Tensor:
    """Return `normalize(features, mean, variance, bias, rectify=True)`."""
    return ((_single_precision(features) - mean) * _scale(variance) + bias).clamp(min=0).to(features.dtype)


@compiled_on_torch_gpu
def gradients(
    features: Tensor, mean: Tensor, variance: Tensor, bias: Tensor, upstream: Tensor, of_batch: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `rectified` by features and bias.

    Args:
        features: x, `(batch, y, x, 2 * channels)`.
        mean: `(2 * channels,)`.
        variance: `(channels,)`.
        bias: `(2 * channels,)`.
        upstream: The gradient by the result.
        of_batch: Whether mean and variance are those of the features themselves, and depend on them.
    """
    scale = _scale(variance)
    normalized = (_single_precision(features) - mean) * scale
    upstream = _single_precision(upstream) * (normalized + bias > 0)
    grad_features = upstream
    if of_batch:
        # Real and imaginary part have one variance.
        projection = (upstream * normalized).mean((0, 1, 2)).reshape(2, -1).sum(0).repeat(2)
        grad_features = upstream - upstream.mean((0, 1, 2)) - normalized * projection
    return (scale * grad_features).to(features.dtype), upstream.sum((0, 1, 2))


def _scale(variance: Tensor) -> Tensor:
    return (variance + EPSILON).rsqrt().repeat(2)


def _single_precision(array: Tensor) -> Tensor:
    import torch

    return array.to(torch.promote_types(array.dtype, torch.float32))
