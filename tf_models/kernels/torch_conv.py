"""A convolution for PyTorch without Keras's copies of the features, and its kernel from a complex one."""

from __future__ import annotations

from tf_models.backend.ops import Tensor, custom_gradient
from tf_models.backend.torch_compile import compiled_on_torch_gpu


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


def real_kernel(kernel: Tensor) -> Tensor:
    """Turn a complex kernel `(y, x, in, out, 2)` into a real one `(y, x, 2 * in, 2 * out)`.

    On a GPU it takes one function, and its derivative another one, instead of seventeen small ones.
    """
    return custom_gradient(lambda kernel: (_real_kernel(kernel), None), lambda _, upstream: _adjoint(upstream))(kernel)


@compiled_on_torch_gpu
def _real_kernel(kernel: Tensor) -> Tensor:
    import torch

    real, imaginary = kernel[..., 0], kernel[..., 1]
    return torch.cat([torch.cat([real, imaginary], -1), torch.cat([-imaginary, real], -1)], -2)


@compiled_on_torch_gpu
def _adjoint(upstream: Tensor) -> Tensor:
    """Return the gradient by the complex kernel."""
    import torch

    from_real, from_imaginary = upstream.chunk(2, -2)
    (real_real, real_imag), (imag_real, imag_imag) = from_real.chunk(2, -1), from_imaginary.chunk(2, -1)
    return torch.stack([real_real + imag_imag, real_imag - imag_real], -1)
