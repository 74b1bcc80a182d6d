#!/usr/bin/env bash
# Keras 3.15.1 on PyTorch 2.13.0: `keras.ops.matmul` of two arrays of float64 is float32.
#
# A product of double precision has double precision, so with Keras on TensorFlow 2.21.0, and on JAX 0.10.2 with
# JAX_ENABLE_X64=1. On PyTorch, `matmul`, `dot`, `tensordot`, `maximum` and `var` convert to float32 and compute there;
# `multiply`, `einsum` and most others keep float64. Behind it, `keras.backend.result_type("float64", "float64")`
# answers float32 on PyTorch (on JAX, too, whose operations do not ask it for that). So a check of derivatives in double
# precision fails at 1e-8 without a word, and so does a network of `dtype="float64"`.
#
# PyTorch comes from where pip is configured to look. A CPU build is enough, and much smaller than Linux's default.
#
# The script exits with 0 if the product of Keras is still float32 and that of PyTorch is not, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    keras==3.15.1 torch==2.13.0 numpy==2.4.6

KERAS_BACKEND=torch CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import keras

matrix = keras.ops.ones((2, 2), dtype="float64") / 3
product, expected = keras.ops.matmul(matrix, matrix), matrix @ matrix
error = float(abs(product - expected).max() / expected.max())
print(f"Keras {keras.__version__} on PyTorch: matmul is {product.dtype}, @ is {expected.dtype}, difference {error:.1e}")
print(f"result_type of float64 and float64: {keras.backend.result_type('float64', 'float64')}")
types = [keras.backend.standardize_dtype(array.dtype) for array in (product, expected)]
sys.exit(0 if types == ["float32", "float64"] else 1)
PYTHON
