#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0: `fit` traces the training step twice, once for nothing.
#
# One expects a step to be traced once. Without a distribution strategy, Keras makes the variables of the optimizer (the
# moments of Adam) within the first trace, and `tf.function` traces a function again whose first call made variables.
# Unrolled networks have long steps, whose trace is most of the set-up of a short training. What works:
# `model.optimizer.build(model.trainable_variables)` before `fit`, with the same weights afterwards.
#
# The script exits with 0 if the step is traced twice, and once with a built optimizer; and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    keras==3.15.1 tensorflow-cpu==2.21.0

KERAS_BACKEND=tensorflow CUDA_VISIBLE_DEVICES=-1 TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np


class Counted(keras.layers.Dense):
    """A layer that counts how often it is called; within `fit`, that is how often it is traced."""

    traces = 0

    def call(self, inputs):
        Counted.traces += 1
        return super().call(inputs)


def traces_of_fit(build_first):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), Counted(3)])
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse")
    if build_first:
        model.optimizer.build(model.trainable_variables)
    Counted.traces = 0
    x, y = np.ones((8, 4), "float32"), np.ones((8, 3), "float32")
    model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    return Counted.traces, model.get_weights()


as_it_is, weights = traces_of_fit(False)
built, same = traces_of_fit(True)
print(f"traces: {as_it_is}; with a built optimizer: {built}")
equal = all(np.array_equal(a, b) for a, b in zip(weights, same))
print("weights afterwards:", "equal" if equal else "different")
sys.exit(0 if (as_it_is, built, equal) == (2, 1, True) else 1)
PYTHON
