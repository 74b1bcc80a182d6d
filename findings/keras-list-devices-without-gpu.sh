#!/usr/bin/env bash
# Keras 3.15.1: `keras.distribution.list_devices("gpu")` without a GPU depends on the backend.
#
# One would expect an empty list. Seen on a machine without a GPU (Keras 3.15.1, JAX 0.10.2, Python 3.11 to 3.13):
#   JAX   RuntimeError, "Unknown backend: 'gpu' requested"
#   (PyTorch 2.13.0, not run here because of its size: AttributeError: 'NoneType' object has no attribute 'list_devices')
# TensorFlow 2.21.0 answers []. Code that asks Keras whether there is a GPU must ask the backend instead.
#
# The script exits with 0 if JAX still raises, and with 1 if it no longer does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2 jaxlib==0.10.2

KERAS_BACKEND=jax CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import keras

try:
    devices = keras.distribution.list_devices("gpu")
except RuntimeError as error:
    print(f"Keras {keras.__version__} on JAX raises RuntimeError: {error}")
else:
    sys.exit(f"Keras {keras.__version__} on JAX answers {devices}: the finding no longer holds")
PYTHON
