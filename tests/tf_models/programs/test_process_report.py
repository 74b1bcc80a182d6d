"""What a Keras process tells of its own memory, on a CPU."""

import importlib.util
import os
import subprocess
import sys

import pytest

MIB = 2**20
# Holds 32 MiB, then 96 MiB in all, then less again; XLA makes what it needs in between itself.
STEPS = """
import keras
from keras import ops
from tf_models.programs import process_report

held = ops.ones((8, {columns}))
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    double = tf.function(lambda array: tf.stack([array, array + 1]), jit_compile=True)
    print(double(held).shape)
print(*process_report.allocator_peak_bytes("cpu"), sep=";")
"""


def peak(columns=2**20, **environment):
    """What a process of its own prints that holds 8 x `columns` floats: the peak in bytes, or None, and the note."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"} | environment
    argv = [sys.executable, "-c", STEPS.format(columns=columns)]
    finished = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()[-1].split(";")


def test_tensorflow_counts_on_a_cpu():
    count, note = peak(KERAS_BACKEND="tensorflow", TF_ENABLE_ONEDNN_OPTS="1")
    assert int(count) == pytest.approx(96 * MIB, rel=0.05)
    assert note.startswith("TensorFlow's get_memory_info")
    assert note.endswith("without the scratch of Fourier transforms")


def test_small_tensors_are_not_counted():
    reason = "n/a: TensorFlow counts tensors of 256 KiB or more on a CPU, and there was none"
    assert peak(columns=2**10, KERAS_BACKEND="tensorflow", TF_ENABLE_ONEDNN_OPTS="1") == ["None", reason]


def test_without_onednn_there_is_no_count():
    reason = "n/a: TensorFlow counts on a CPU with oneDNN only, which is off here"
    assert peak(KERAS_BACKEND="tensorflow", TF_ENABLE_ONEDNN_OPTS="0") == ["None", reason]


@pytest.mark.parametrize(("backend", "name"), [("jax", "JAX"), ("torch", "PyTorch")])
def test_others_count_on_gpus_only(backend, name):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    assert peak(KERAS_BACKEND=backend) == ["None", f"n/a: {name} counts on GPUs only"]
