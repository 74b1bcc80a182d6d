#!/usr/bin/env bash
# sigpy 0.1.27: without a shape, `nufft_adjoint` makes an image that is a pixel too small.
#
# A grid of 16 x 16 samples has positions -8 to 7, in 1 / field of view. One expects an image of 16 x 16 pixels: with
# that shape the adjoint of the Fourier samples of an image is the image. `sigpy.nufft_adjoint` without a shape, as
# `sigpy.estimate_shape` has it, takes the range of the coordinates, 7 - (-8), for the number of pixels: 15 x 15, an
# odd size with its centre at another pixel, so that images of the two shapes do not fit each other. It is the same
# for spokes from -7.5 to 7.5.
#
# The script exits with 0 if the shape is still 15 x 15, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check sigpy==0.1.27 numpy==2.4.6

"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import sigpy

image = np.random.default_rng(0).normal(size=(16, 16)) + 0j
grid = np.stack(np.meshgrid(*[np.arange(16.0) - 8] * 2, indexing="ij"), -1)
samples = sigpy.nufft(image, grid, oversamp=2, width=6)
with_shape = sigpy.nufft_adjoint(samples, grid, (16, 16), oversamp=2, width=6)
without = sigpy.nufft_adjoint(samples, grid, oversamp=2, width=6)
assert np.linalg.norm(with_shape - image) < 1e-3 * np.linalg.norm(image)
print(f"sigpy {sigpy.__version__}: samples {samples.shape}, estimated {sigpy.estimate_shape(grid)}, image {without.shape}")
sys.exit(0 if without.shape == (15, 15) else 1)
PYTHON
