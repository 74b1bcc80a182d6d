"""Where TensorFlow on an NVIDIA GPU multiplies pairs of halves instead of numbers of single precision."""

from __future__ import annotations

from tf_models.backend.devices import has_tensorflow_tensor_cores
from tf_models.backend.exporting import is_exporting
from tf_models.backend.ops import Tensor
from tf_models.backend.xla import is_compiling


def multiplies_halves(*arrays: Tensor) -> bool:
    """Return whether `tf_models.kernels.tensorflow_gpu` multiplies arrays, `(batch, ...)`."""
    if not has_tensorflow_tensor_cores() or not is_compiling() or is_exporting():
        return False
    return all(array.dtype == "float32" and None not in array.shape[1:] for array in arrays)
