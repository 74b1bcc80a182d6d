"""Which devices Keras's backend computes on."""

from __future__ import annotations

from functools import cache

import keras


def sees_gpu() -> bool:
    """Return whether Keras's backend sees a GPU; `keras.distribution.list_devices` knows only for TensorFlow."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    return bool(keras.distribution.list_devices("gpu"))


@cache
def runs_on_tensorflow_cpu() -> bool:
    """Return whether Keras computes with TensorFlow on a CPU."""
    return keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")


@cache
def runs_on_torch_gpu() -> bool:
    """Return whether Keras computes with PyTorch on a GPU."""
    return keras.backend.backend() == "torch" and sees_gpu()


@cache
def has_tensorflow_tensor_cores() -> bool:
    """Return whether Keras computes with TensorFlow on NVIDIA GPUs that multiply halves in tensor cores (Ampere on)."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.get_visible_devices("GPU"))
    capabilities = [each.get("compute_capability", (0, 0)) for each in details]
    return bool(capabilities) and min(capabilities) >= (8, 0)
