#!/usr/bin/env bash
# pynufft 2025.2.1: `adjoint` is the adjoint divided by the number of pixels of the oversampled grid.
#
# One expects <A x, y> = <x, A^H y>, which the gradient of a data term and conjugate gradients need. `forward` is the
# plain sum without a scale, `adjoint` has the 1 / N of NumPy's inverse transform, and N is that of the grid (64 x 64
# for an image of 32 x 32): the two products differ by a factor of 4096. With another oversampling, the same data give
# another scale.
#
# The script exits with 0 if the factor is still 4096, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    pynufft==2025.2.1 scipy==1.17.1 numpy==2.4.6

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import pynufft

random = np.random.default_rng(0)
image = random.normal(size=(32, 32)) + 1j * random.normal(size=(32, 32))
samples = random.normal(size=400) + 1j * random.normal(size=400)
radians = random.uniform(-np.pi, np.pi, (400, 2))
for grid in (64, 48):
    plan = pynufft.NUFFT()
    plan.plan(radians, (32, 32), (grid, grid), (6, 6))
    factor = np.vdot(samples, plan.forward(image)) / np.vdot(plan.adjoint(samples), image)
    print(f"pynufft {version('pynufft')}, grid {grid} x {grid}: <y, A x> / <A^H y, x> = {factor:.2f}, expected 1")
    if abs(factor - grid**2) > 1e-2 * grid**2:
        sys.exit(1)
PYTHON
