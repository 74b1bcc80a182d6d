#!/usr/bin/env bash
# TensorFlow 2.21.0: `ForwardAccumulator` finds no derivative of batch normalization inside a `tf.function`.
#
# Derivatives forwards (jvp) and backwards (gradient times the direction) are the same number, so one expects 50.6 in
# each case here. Computed eagerly both are. If the normalization is called through a `tf.function`, the gradient is
# still right and `jvp` answers None, which means that the result does not depend on the input, and 0 with
# UnconnectedGradients.ZERO. No error, no warning. The same with jit_compile=True. Other operations, such as squares
# and Fourier transforms, are right. A check of derivatives by jvp is misled. What works: the accumulator within the
# `tf.function`.
#
# The script exits with 0 if `jvp` is still None while the other derivatives agree, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check tensorflow-cpu==2.21.0

CUDA_VISIBLE_DEVICES=-1 TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import tensorflow as tf

x = tf.random.stateless_normal((4, 3, 3, 2), (1, 2))
direction = tf.random.stateless_normal(x.shape, (3, 4))


def normalized(x):
    return tf.reduce_sum(tf.compat.v1.nn.fused_batch_norm(x, tf.ones(2), tf.zeros(2), is_training=True)[0] ** 3)


def jvp(function):
    with tf.autodiff.ForwardAccumulator(x, direction) as accumulator:
        result = function(x)
    return accumulator.jvp(result)


compiled = tf.function(normalized, autograph=False)
with tf.GradientTape() as tape:
    tape.watch(x)
    result = compiled(x)
backwards = float(tf.reduce_sum(tape.gradient(result, x) * direction))
eager, inside, through = jvp(normalized), tf.function(lambda: jvp(normalized), autograph=False)(), jvp(compiled)
print(f"TensorFlow {tf.__version__}: gradient {backwards:.3f}, jvp eager {eager:.3f}, inside tf.function {inside:.3f}")
print(f"jvp through tf.function: {through}")
assert max(abs(eager - backwards), abs(inside - backwards)) < 1e-3
sys.exit(0 if through is None else 1)
PYTHON
