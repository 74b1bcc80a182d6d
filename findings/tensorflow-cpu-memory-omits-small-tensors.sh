#!/usr/bin/env bash
# TensorFlow 2.21.0: `get_memory_info("CPU:0")` does not count tensors of less than 256 KiB.
#
# The function answers with current and peak bytes of the device, and on a GPU these are of all tensors. One expects the
# same on a CPU. But a thousand tensors of 255 KiB, a quarter of a gigabyte, leave both counts at 0; tensors of 257 KiB
# are counted. So a measurement of a small network reads 0, and one of a larger network leaves some tensors out.
#
# The script exits with 0 if small tensors are not counted and larger ones are, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check tensorflow-cpu==2.21.0

CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys

import tensorflow as tf

counts = {}
for size_kib in (255, 257):
    tensors = [tf.random.normal((size_kib * 256,)) for _ in range(1000)]
    counts[size_kib] = tf.config.experimental.get_memory_info("CPU:0")["current"]
    print(f"TensorFlow {tf.__version__}: 1000 tensors of {size_kib} KiB held, counted: {counts[size_kib]} bytes")
    del tensors
sys.exit(0 if counts[255] == 0 and counts[257] >= 1000 * 257 * 1024 else 1)
PYTHON
