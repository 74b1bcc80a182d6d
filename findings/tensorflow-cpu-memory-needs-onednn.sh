#!/usr/bin/env bash
# TensorFlow 2.21.0: whether `get_memory_info("CPU:0")` works depends on oneDNN.
#
# The allocator of the CPU counts current and peak bytes, and the function answers with them. TF_ENABLE_ONEDNN_OPTS=0
# only asks for other kernels, as one does to get the same sums on each processor. One expects the same counters with
# it. But the function raises ValueError then: only oneDNN's allocator counts. So a measurement of memory breaks, or
# falls back on something else, where somebody asked for reproducible numbers.
#
# The script exits with 0 if it still works by default and raises without oneDNN, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check tensorflow-cpu==2.21.0

cat >"$folder/memory.py" <<'PYTHON'
import tensorflow as tf

tensor = tf.zeros(2**20)
try:
    print("peak of at least 4 MiB:", tf.config.experimental.get_memory_info("CPU:0")["peak"] >= 2**22)
except ValueError as error:
    print("ValueError:", error)
PYTHON
for onednn in 1 0; do
    TF_ENABLE_ONEDNN_OPTS=$onednn CUDA_VISIBLE_DEVICES=-1 \
        "$folder/venv/bin/python" "$folder/memory.py" 2>/dev/null >"$folder/$onednn"
    echo "TensorFlow 2.21.0, TF_ENABLE_ONEDNN_OPTS=$onednn: $(cat "$folder/$onednn")"
done
grep -q True "$folder/1" && grep -q ValueError "$folder/0"
