#!/usr/bin/env bash
# Keras 3.15.1 on PyTorch 2.13.0: `keras.ops.pad(mode="symmetric")` repeats the edge pixel instead of mirroring.
#
# Symmetric padding of 1 2 3 4 5 by 2 is 2 1 1 2 3 4 5 5 4, so in NumPy, and with Keras on TensorFlow 2.21.0 and JAX
# 0.10.2. PyTorch has no such mode. One expects an error, or the same numbers; Keras answers 1 1 1 2 3 4 5 5 5 without
# a word. (The mode "reflect" is right.) A network that mirrors its images, as VarNet does, gives other images on
# PyTorch near the edge.
#
# PyTorch comes from where pip is configured to look. A CPU build is enough, and much smaller than Linux's default.
#
# The script exits with 0 if Keras still repeats the edge, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    keras==3.15.1 torch==2.13.0 numpy==2.4.6

KERAS_BACKEND=torch CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import keras
import numpy as np

line = np.arange(1, 6, dtype=np.float32)
padded = keras.ops.convert_to_numpy(keras.ops.pad(line, ((2, 2),), mode="symmetric"))
print(f"Keras {keras.__version__} on PyTorch {padded}, NumPy {np.pad(line, 2, mode='symmetric')}")
sys.exit(0 if np.array_equal(padded, np.pad(line, 2, mode="edge")) else 1)
PYTHON
