"""Whether the regularizers run as Triton kernels on PyTorch, which comes with Triton on Linux."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache

import keras

from tf_models.backend import fallback
from tf_models.backend.exporting import is_exporting
from tf_models.backend.ops import Tensor
from tf_models.kernels import triton_tiles as tiles


def experts_run(dtype: str, kernel_shape: tuple[int, ...], basis: int) -> bool:
    """Return whether `tf_models.kernels.experts_triton` computes a field of experts, see `triton_support`."""
    return (
        _has_triton(dtype)
        and kernel_shape[3] <= tiles.MOST_FILTERS
        and basis > 1
        and _compile(tuple(kernel_shape), basis)
    )


def filter_gradient_runs(dtype: str, shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
    """Return whether `experts_triton.filter_gradient` computes the gradient by filters `(y, x, 2, filter)`.

    Args:
        dtype: Type of the image.
        shape: Its shape, `(batch, y, x, 2)`.
        kernel_shape: Shape of the filters.
    """
    channels, filters = kernel_shape[2:]
    if not _has_triton(dtype) or channels != 2 or filters > tiles.MOST_FILTERS:
        return False
    return tiles.experts_fit(shape, kernel_shape) and _compile(tuple(kernel_shape), 0)


def convolution_runs(dtype: str, shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
    """Return whether `tf_models.kernels.convolution_triton_torch` computes a convolution and its derivative.

    Args:
        dtype: Type of the features.
        shape: Their shape, `(batch, y, x, channels)`.
        kernel_shape: `(y, x, channels, filters)`.
    """
    fits = _has_triton(dtype) and tiles.same_conv_fits(shape, kernel_shape)
    return fits and _convolution_compiles(tuple(kernel_shape))


def _has_triton(dtype: str) -> bool:
    import torch

    if keras.backend.standardize_dtype(dtype) != "float32" or is_exporting() or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability() >= (8, 0) and importlib.util.find_spec("triton") is not None


@cache
def _compile(kernel_shape: tuple[int, ...], basis: int) -> bool:
    """Return whether the kernels of a field of experts compile; of 0 Gaussians, only that of the filters' gradient."""
    size_y, size_x, _, filters = kernel_shape

    def run() -> None:
        from tf_models.kernels import experts_triton
        from tf_models.kernels.half_pairs import halves

        image, kernel = _zeros(*tiles.trial_image(kernel_shape)), _zeros(*kernel_shape)
        features = _zeros(*tiles.features_shape(image.shape, kernel_shape))
        experts_triton.filter_gradient(experts_triton.pairs(image, kernel_shape), halves(features), (size_y, size_x))
        if basis:
            _, kept = experts_triton.forward(image, kernel, _zeros(basis, filters))
            experts_triton.backward(kept, image)

    return _runs("VarNet" if basis else "MoDL", run)


@cache
def _convolution_compiles(kernel_shape: tuple[int, ...]) -> bool:
    def run() -> None:
        from tf_models.kernels import convolution_triton_torch as kernels

        kernel, (channels, filters) = _zeros(*kernel_shape), kernel_shape[2:]
        features, upstream = _zeros(1, 8, 8, channels), _zeros(1, 8, 8, filters)
        kernels.convolve(features, kernel)
        kernels.gradients(features, kernel, upstream)

    return _runs("MoDL", run)


def _runs(network: str, run: Callable[[], None]) -> bool:
    """Return whether kernels compile and run; if they do not, say so in one line."""
    import torch

    try:
        run()
        torch.cuda.synchronize()
    # Whatever goes wrong in compilers and drivers, the portable version does the work.
    except Exception as error:  # noqa: BLE001
        fallback.report(f"{network}'s kernels for this GPU do not compile; the portable ones are used", error)
        return False
    return True


def _zeros(*shape: int) -> Tensor:
    import torch

    return torch.zeros(shape, device="cuda")
