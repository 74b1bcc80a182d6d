#!/usr/bin/env bash
# Keras 3.15.1 exports a network with a Fourier transform to ONNX without an error, and onnxruntime refuses the file.
#
# ONNX has no complex numbers. One expects `Model.export(format="onnx")` to fail for such a network on TensorFlow, or to
# write its own form of the transform. It returns, and the file holds TensorFlow's operations Complex, FFT2D, Real and
# Imag in ONNX's own domain, which onnxruntime 1.27.0 refuses. Seen with TensorFlow 2.21.0 and tf2onnx 1.17.0.
#
# The script exits with 0 if the export succeeds and the file is refused because of the transform, with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    keras==3.15.1 tensorflow==2.21.0 tf2onnx==1.17.0 onnxruntime==1.27.0

cd "$folder"
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - <<'PYTHON' 2>log || { tail -n 5 log >&2; exit 1; }
import sys

import keras
import onnx
import onnxruntime
from keras import ops


class Spectrum(keras.layers.Layer):
    def call(self, image):
        real, imaginary = ops.fft2((image, ops.zeros_like(image)))
        return ops.sqrt(real**2 + imaginary**2)


image = keras.Input((8, 8), batch_size=1)
model = keras.Model(image, Spectrum()(image))
model(ops.zeros((1, 8, 8)))
model.export("spectrum.onnx", format="onnx", verbose=False)
nodes = {node.op_type for node in onnx.load("spectrum.onnx").graph.node if node.domain in ("", "ai.onnx")}
print("exported; operations that ONNX does not have:", sorted(nodes & {"Complex", "FFT2D", "Real", "Imag"}))
try:
    onnxruntime.InferenceSession("spectrum.onnx", providers=["CPUExecutionProvider"])
except Exception as error:
    print(f"onnxruntime {onnxruntime.__version__}:", str(error).splitlines()[0][:160])
    sys.exit("FFT2D" not in nodes)
sys.exit("onnxruntime runs it")
PYTHON
