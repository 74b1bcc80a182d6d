#!/usr/bin/env bash
# Keras 3.15.1: the mean squared error of complex images is 0, or negative.
#
# The mean squared error of i against 3i is 4. Keras has three answers, and none is 4:
#   losses.MeanSquaredError()                   0: arguments are cast to float32, the imaginary parts are dropped
#   losses.MeanSquaredError(dtype="complex64")  -4: the square is not that of the modulus
#   metrics.MeanSquaredError                    -4: the same, and then the real part
# Layers cast their inputs likewise, so that a network with complex weights trains on the real parts alone while its
# loss goes to 0. JAX and PyTorch warn once that a cast discards the imaginary part, TensorFlow 2.21.0 in its log;
# answers are the same.
#
# The script exits with 0 if Keras still gives these answers, and with 1 otherwise.
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

reference, image = np.array([[3j]], np.complex64), np.array([[1j]], np.complex64)
default = complex(keras.losses.MeanSquaredError()(reference, image))
as_complex = complex(keras.losses.MeanSquaredError(dtype="complex64")(reference, image))
metric = keras.metrics.MeanSquaredError()
metric.update_state(reference, image)
measured = complex(metric.result())
print(f"Keras {keras.__version__}: loss {default}, with dtype complex64 {as_complex}, metric {measured}, expected 4")
sys.exit(0 if default == 0 and as_complex == -4 and measured == -4 else 1)
PYTHON
