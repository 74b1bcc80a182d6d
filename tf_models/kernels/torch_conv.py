"""A convolution for PyTorch without Keras's copies of the features."""

from __future__ import annotations

from tf_models.backend.ops import Tensor


def convolve(features: Tensor, kernel: Tensor) -> Tensor:
    """Compute `ops.conv(features, kernel, padding="same")` for a kernel of odd size.

    For PyTorch, features with the channels last are an ordinary array in another order of memory. Keras brings them
    into PyTorch's own order and back, two copies for each convolution.

    Args:
        features: `(batch, y, x, channels)`.
        kernel: `(y, x, channels, filters)`.

    Returns:
        `(batch, y, x, filters)`.
    """
    import torch

    kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    half = (kernel.shape[2] // 2, kernel.shape[3] // 2)
    return torch.nn.functional.conv2d(features.permute(0, 3, 1, 2), kernel, padding=half).permute(0, 2, 3, 1)
