#!/usr/bin/env bash
# Keras 3.15.1 on PyTorch 2.13.0: `keras.ops.pad` takes some 20 to 60 times as long to start as PyTorch's `pad`.
#
# Most functions of `keras.ops` go straight to the backend. `pad` makes an object of the class `Pad` for each call, and
# Keras inspects the signature of its constructor, 0.08 to 0.2 ms. Backends that trace a network do so once; PyTorch does
# so in each step. A GPU computes a small layer in less time than that, so it waits for Python: a step of an unrolled
# network with 120 paddings takes 10 to 25 ms longer.
#
# PyTorch comes from where pip is configured to look. A CPU build is enough, and much smaller than Linux's default.
#
# The script exits with 0 if Keras still makes an object for each padding and for no product, and with 1 otherwise. The
# times are printed for information.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    keras==3.15.1 torch==2.13.0 numpy==2.4.6

KERAS_BACKEND=torch CUDA_VISIBLE_DEVICES=-1 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import statistics
import sys
import time

import keras
import torch

CALLS = 200
image = torch.ones(1, 8, 8, 2)
functions = {
    "keras.ops.pad": lambda: keras.ops.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0))),
    "torch pad": lambda: torch.nn.functional.pad(image, (0, 0, 1, 1, 1, 1)),
    "keras.ops.multiply": lambda: keras.ops.multiply(image, image),
}
assert torch.equal(functions["keras.ops.pad"](), functions["torch pad"]())

seconds = {}
for name, function in functions.items():
    times = []
    for _ in range(CALLS):
        start_s = time.perf_counter()
        function()
        times.append(time.perf_counter() - start_s)
    seconds[name] = statistics.median(times)

made, make = [], keras.Operation.__new__
keras.Operation.__new__ = lambda cls, *args, **kwargs: made.append(cls.__name__) or make(cls, *args, **kwargs)
objects = {}
for name, function in functions.items():
    made.clear()
    for _ in range(CALLS):
        function()
    objects[name] = len(made)
    print(f"{name}: {1e6 * seconds[name]:.0f} us a call, {objects[name]} objects in {CALLS} calls")
sys.exit(0 if objects == {"keras.ops.pad": CALLS, "torch pad": 0, "keras.ops.multiply": 0} else 1)
PYTHON
