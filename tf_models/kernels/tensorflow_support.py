"""Where TensorFlow on an NVIDIA GPU multiplies pairs of halves instead of numbers of single precision."""

from __future__ import annotations

from functools import cache

from tf_models.backend import fallback
from tf_models.backend.devices import has_tensorflow_tensor_cores
from tf_models.backend.exporting import is_exporting
from tf_models.backend.ops import Tensor
from tf_models.backend.xla import is_compiling


def multiplies_halves(*arrays: Tensor) -> bool:
    """Return whether `tf_models.kernels.tensorflow_gpu` multiplies arrays, `(batch, ...)`."""
    if not has_tensorflow_tensor_cores() or not is_compiling() or is_exporting() or not _has_operations_of_xla():
        return False
    return all(array.dtype == "float32" and None not in array.shape[1:] for array in arrays)


@cache
def _has_operations_of_xla() -> bool:
    """Return whether TensorFlow still has them where they are today, which is no part of what it documents."""
    try:
        from tf_models.kernels import tensorflow_gpu  # noqa: F401
    except ImportError as error:
        fallback.report("TensorFlow does not show operations of XLA here; VarNet runs without, more slowly", error)
        return False
    return True
