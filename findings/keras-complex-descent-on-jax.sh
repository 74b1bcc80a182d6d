#!/usr/bin/env bash
# Keras 3.15.1 on JAX 0.10.2: gradient descent with complex weights climbs.
#
# One expects the same training from Keras on all backends. For complex weights, gradients of TensorFlow and PyTorch
# point uphill, and those of JAX are their complex conjugates. Keras hands both to its optimizers as they are. Real
# parts descend and imaginary parts climb: |w - t|^2 for t = (1 + 2i, -3 + i, 2 - 2i) goes from 23 to 13228 in 20
# steps of SGD with rate 0.1, and to 0.003 with TensorFlow 2.21.0. No error, no warning. What works on all backends:
# pairs of real weights. On JAX also: conjugate the gradient.
#
# The script exits with 0 if the loss still grows, and falls with conjugate gradients; and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    keras==3.15.1 jax==0.10.2 jaxlib==0.10.2

KERAS_BACKEND=jax CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import jax
import keras
import numpy as np

target = np.array([1 + 2j, -3 + 1j, 2 - 2j], np.complex64)


def loss(weights):
    return keras.ops.sum(keras.ops.square(keras.ops.abs(weights - target)))


def descend(turn):
    variable = keras.Variable(np.zeros(3, np.complex64), dtype="complex64")
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build([variable])
    before = float(loss(variable.value))
    for _ in range(20):
        optimizer.apply([turn(jax.grad(loss)(variable.value))])
    return before, float(loss(variable.value))


before, after = descend(lambda gradient: gradient)
_, turned = descend(keras.ops.conjugate)
print(f"Keras {keras.__version__}, JAX {jax.__version__}: loss {before:.4g}, after 20 steps {after:.4g}")
print(f"with conjugate gradients {turned:.4g}")
sys.exit(0 if after > 100 * before and turned < 0.01 * before else 1)
PYTHON
