"""Floating-point precision: of matrix products on a GPU, and of single arrays."""

from __future__ import annotations

import keras
from keras import ops

from tf_models.backend.ops import Tensor


def use_full_precision() -> None:
    """Let a GPU multiply and convolve in full single precision instead of TF32, in the whole process.

    TF32 keeps 10 bits of the mantissa. BART computes in full precision, and conjugate gradients need it. The
    constructor of each network calls this function. So it holds for every way to a network: built, loaded from a
    `.keras` file by us or by a user, or unpickled.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    elif backend == "torch":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    else:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)


def cast_if(array: Tensor, dtype: str | None) -> Tensor:
    """Cast `array` to `dtype`, or return it unchanged if `dtype` is None."""
    return array if dtype is None else ops.cast(array, dtype)


def to_single_precision(array: Tensor) -> Tensor:
    """Cast an array of less than single precision to float32; return others unchanged."""
    return ops.cast(array, single_precision(array))


def single_precision(array: Tensor) -> str:
    """Return the type of an array, or float32 if that has more precision."""
    # On JAX and PyTorch, Keras's `result_type` of float64 and float32 is float32.
    return "float64" if keras.backend.standardize_dtype(array.dtype) == "float64" else "float32"
