"""Whether derivatives of the regularizers run as Triton kernels (JAX on an NVIDIA GPU, with the package jax-triton)."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import keras

from tf_models.backend import fallback
from tf_models.backend.ops import Tensor, Tensors
from tf_models.kernels import triton_tiles as tiles


def runs_as_triton_kernels(dtype: str, kernel_shape: tuple[int, ...], basis: int) -> bool:
    """Return whether Triton kernels compute a field of experts.

    They are those of `tf_models.kernels.experts_triton`.

    Args:
        dtype: Type of the image.
        kernel_shape: `(y, x, 2, filter)`.
        basis: Number of Gaussians.
    """
    if keras.backend.backend() == "torch":
        from tf_models.kernels import torch_support

        return torch_support.experts_run(dtype, kernel_shape, basis)
    if not _has_triton(dtype) or kernel_shape[3] > tiles.MOST_FILTERS or basis < 2:
        return False
    return _compiles(tuple(kernel_shape), basis)


def same_conv_runs_in_triton(dtype: str, shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
    """Return whether `tf_models.kernels.convolution_jax_gpu` computes a convolution and its derivative.

    Args:
        dtype: Type of the features.
        shape: Their shape, `(batch, y, x, channels)`.
        kernel_shape: `(y, x, channels, filters)`.
    """
    if not _has_triton(dtype) or not tiles.same_conv_fits(shape, kernel_shape):
        return False
    return _same_conv_compiles(tuple(kernel_shape))


def normalization_runs_in_triton(dtype: str, shape: tuple[int, ...]) -> bool:
    """Return whether `tf_models.kernels.normalization_jax_gpu` computes the sums of batch normalisation.

    Args:
        dtype: Type of the features.
        shape: Their shape, `(batch, y, x, channels)`.
    """
    if not _has_triton(dtype) or shape[-1] not in (16, 32, 64) or math.prod(shape) > tiles.LARGEST_INDEX:
        return False
    return _normalization_compiles(shape[-1])


def _has_triton(dtype: str) -> bool:
    if keras.backend.backend() != "jax" or str(dtype) != "float32":
        return False
    from tf_models.kernels import jax_gpu

    return jax_gpu.has_tensor_cores() and all(map(importlib.util.find_spec, ("jax_triton", "triton")))


@cache
def _compiles(kernel_shape: tuple[int, ...], basis: int) -> bool:
    return _run("VarNet", lambda: _experts(kernel_shape, basis), ("triton_experts", kernel_shape, basis))


@cache
def _same_conv_compiles(kernel_shape: tuple[int, ...]) -> bool:
    return _run("MoDL", lambda: [_same_conv(kernel_shape)], ("triton_convolution", kernel_shape))


@cache
def _normalization_compiles(channels: int) -> bool:
    return _run("MoDL", lambda: [_normalization(channels)], ("triton_normalization", channels))


def _run(network: str, kernels: Callable[[], list[Callable[[], Tensors]]], description: tuple[Any, ...]) -> bool:
    """Return whether each kernel compiles and runs; if one does not, say so in one line.

    What ran once runs in every process with the same versions and the same kind of GPU, see `triton_call`. The first
    entry of the description is the module of the kernels.
    """
    import jax

    try:
        from tf_models.kernels import triton_call

        passed = triton_call.file_name(*description)
        folder = triton_call.folder()
        if folder is not None and (folder / passed).exists():
            return True
        # In threads, because the caller may be in the middle of a trace of JAX, and each compiles for seconds.
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda kernel: jax.block_until_ready(kernel()), kernels()))
    # Whatever goes wrong in compilers and drivers, the portable version does the work.
    except Exception as error:  # noqa: BLE001
        fallback.report(f"{network}'s kernels for this GPU do not compile; the portable ones are used", error)
        return False
    triton_call.write(passed, lambda: b"")
    return True


def _same_conv(kernel_shape: tuple[int, ...]) -> Callable[[], Tensors]:
    import jax
    import jax.numpy as jnp

    from tf_models.kernels import convolution_jax_gpu

    def convolution_and_derivative() -> Tensors:
        kernel = jnp.zeros(kernel_shape, "float32")
        features, upstream = (jnp.zeros((1, 8, 8, size), "float32") for size in kernel_shape[2:])
        result, kept = convolution_jax_gpu.forward(features, kernel)
        return result, convolution_jax_gpu.backward(kept, upstream)

    compiled: Callable[[], Tensors] = jax.jit(convolution_and_derivative)
    return compiled


def _normalization(channels: int) -> Callable[[], Tensors]:
    import jax
    import jax.numpy as jnp

    from tf_models.kernels import normalization_jax_gpu

    def sums() -> Tensors:
        features, means = jnp.zeros((1, 8, 8, channels), "float32"), jnp.zeros((channels,), "float32")
        return normalization_jax_gpu.statistics(features), normalization_jax_gpu.upstream_means(
            features, features, means, means, means, rectify=True
        )

    compiled: Callable[[], Tensors] = jax.jit(sums)
    return compiled


def _experts(kernel_shape: tuple[int, ...], basis: int) -> list[Callable[[], Tensors]]:
    import jax
    import jax.numpy as jnp

    from tf_models.kernels import experts_triton
    from tf_models.kernels.half_pairs import halves

    shape = tiles.trial_image(kernel_shape)

    def arguments() -> tuple[Tensor, ...]:
        return tuple(jnp.zeros(size, "float32") for size in (shape, kernel_shape, (basis, kernel_shape[3])))

    def forward() -> Tensors:
        return experts_triton.forward(*arguments())

    def backward() -> Tensors:
        image, kernel, weights = arguments()
        values = jnp.zeros(tiles.features_shape(shape, kernel_shape), "float32")
        kept = experts_triton.Kept(experts_triton.pairs(image, kernel_shape), kernel, weights, values, halves(values))
        return experts_triton.backward(kept, image)

    return [jax.jit(forward), jax.jit(backward)]
