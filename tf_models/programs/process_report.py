"""What only the Keras process itself can measure: memory before the work, peak of the allocator, time of a call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

_NAMES = {"jax": "JAX", "torch": "PyTorch"}


def baseline_rss_bytes() -> int:
    """Return the resident memory of this process after imports and a first kernel, before any work."""
    from keras import ops

    import tf_models.training.fit  # noqa: F401  part of the imports

    ones = ops.ones((8, 8))
    ops.convert_to_numpy(ops.matmul(ones, ones))
    return int(psutil.Process().memory_info().rss)


def allocator_peak_bytes(device: str) -> tuple[int | None, str]:
    """Return the peak of the device allocator by its own count.

    Args:
        device: Where this process computed, `cpu` or `gpu`.

    Returns:
        The peak in bytes and whose count it is; or None and why there is no count.
    """
    import keras

    backend = keras.backend.backend()
    if device != "gpu":
        return _cpu_peak_bytes() if backend == "tensorflow" else (None, f"n/a: {_NAMES[backend]} counts on GPUs only")
    if backend == "tensorflow":
        import tensorflow as tf

        peaks = [tf.config.experimental.get_memory_info(f"GPU:{number}")["peak"] for number in range(_gpu_count())]
        source = "TensorFlow's get_memory_info, peak of what tensors used"
    elif backend == "jax":
        import jax

        peaks = [gpu.memory_stats()["peak_bytes_in_use"] for gpu in jax.local_devices()]
        source = "JAX's memory_stats, peak_bytes_in_use"
    else:
        import torch

        peaks = [torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count())]
        source = "PyTorch's max_memory_allocated"
    return int(sum(peaks)), f"{source}, all GPUs together"


def _cpu_peak_bytes() -> tuple[int | None, str]:
    """Return TensorFlow's count on a CPU; only its allocator for oneDNN counts, and only tensors of 256 KiB or more."""
    import tensorflow as tf

    try:
        peak = tf.config.experimental.get_memory_info("CPU:0")["peak"]
    except ValueError:
        return None, "n/a: TensorFlow counts on a CPU with oneDNN only, which is off here"
    if not peak:
        return None, "n/a: TensorFlow counts tensors of 256 KiB or more on a CPU, and there was none"
    source = "TensorFlow's get_memory_info, peak of tensors of 256 KiB or more"
    return int(peak), f"{source}, without the scratch of Fourier transforms"


def time_calls(
    model: keras.Model, inputs: dict[str, NDArray[np.float32]], calls: int
) -> dict[str, float | list[float]]:
    """Time the reconstruction of the first slice, from arrays in memory to an array in memory.

    Args:
        model: The network.
        inputs: `tf_models.training.network_inputs.network_inputs` of at least one slice.
        calls: Number of calls after the first one, which traces and compiles for one slice.

    Returns:
        `first_s`, the wall time of the first call, and lists of the others: `wall_s`, and `cpu_s`, user and system
        seconds of all threads.
    """
    one = {name: values[:1] for name, values in inputs.items()}
    wall_s, cpu_s = [], []
    for _ in range(calls + 1):
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        np.asarray(model.predict_on_batch(one))
        wall_s.append(time.perf_counter() - start_s)
        cpu_s.append(time.process_time() - start_cpu_s)
    return {"first_s": wall_s[0], "wall_s": wall_s[1:], "cpu_s": cpu_s[1:]}


def _gpu_count() -> int:
    import tensorflow as tf

    return len(tf.config.list_logical_devices("GPU"))
