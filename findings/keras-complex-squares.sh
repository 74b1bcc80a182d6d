#!/usr/bin/env bash
# Keras 3.15.1: for complex weights, a square is w * w and not |w|^2: in penalties, norms and Adam.
#
# Keras has complex variables, saves them and computes their gradients, so one expects its constraints, regularizers
# and optimizers to know the modulus, as PyTorch's do, or to refuse. With complex64 weights and JAX 0.10.2, without an
# error or a warning:
#   regularizers.L2 of (3, 4i) is -7, expected 25: the penalty rewards large imaginary parts;
#   constraints.UnitNorm turns (3, 4i) into numbers of norm 1.89, expected 1;
#   the first step of optimizers.Adam for the gradient 3 + 4i is -1 times the learning rate, and so it is for 4i:
#   the imaginary part does not move at all;
#   optimizers.SGD(clipnorm=1) does not clip the gradient 4i.
# L2, UnitNorm and Adam answer the same with TensorFlow 2.21.0 and PyTorch 2.13.0; clipnorm raises there.
#
# The script exits with 0 if all four still hold, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    keras==3.15.1 jax==0.10.2 jaxlib==0.10.2

KERAS_BACKEND=jax CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import keras
import numpy as np

weights = keras.ops.convert_to_tensor(np.array([3, 4j], np.complex64))
penalty = complex(keras.regularizers.L2(1.0)(weights))
norm = float(np.linalg.norm(keras.constraints.UnitNorm(axis=0)(weights)))


def first_step(optimizer: keras.optimizers.Optimizer, gradient: complex) -> complex:
    variable = keras.Variable(np.zeros(1, np.complex64), dtype="complex64")
    optimizer.build([variable])
    optimizer.apply([keras.ops.convert_to_tensor(np.array([gradient], np.complex64))])
    return complex(np.asarray(variable.value)[0])


adam = [first_step(keras.optimizers.Adam(1.0), gradient) for gradient in (3 + 4j, 4j)]
clipped = first_step(keras.optimizers.SGD(1.0, clipnorm=1.0), 4j)
print(f"Keras {keras.__version__}: L2 {penalty}, norm after UnitNorm {norm:.2f}")
print(f"steps of Adam {adam[0]:.3f} and {adam[1]:.3f}, of SGD with clipnorm=1 {clipped:.3f}")
sys.exit(0 if penalty == -7 and norm > 1.5 and max(abs(step + 1) for step in adam) < 1e-3 and clipped == -4j else 1)
PYTHON
