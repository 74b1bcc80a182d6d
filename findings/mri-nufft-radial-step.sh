#!/usr/bin/env bash
# mri-nufft 1.5.1: spokes of N samples have another field of view than N pixels, and miss the centre.
#
# For images of N pixels one expects spokes of N samples at steps of 1 / field of view, as from BART's `traj -r` (-7.5
# to 7.5 for 16) or `traj -r -c` (-8 to 7). `initialize_2D_radial(..., in_out=True)` spreads them from -0.5 to 0.5
# cycles per pixel with both ends: steps are N / (N - 1) of that (6.7 % for 16 samples), no sample is in the centre,
# and the first and the last are the same frequency of a grid. Samples measured with BART's trajectory, if they are
# taken for these, give an image zoomed by that factor.
#
# The script exits with 0 if the step is still N / (N - 1) and no sample is in the centre, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check mri-nufft==1.5.1 numpy==2.4.6

"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import mrinufft
import numpy as np

wrong = True
for n in (16, 64):
    spokes = n * mrinufft.initialize_2D_radial(5, n, in_out=True)  # in 1 / field of view of n pixels
    step, nearest = np.diff(spokes[0, :, 0]).mean(), np.linalg.norm(spokes, axis=-1).min()
    print(f"mri-nufft {version('mri-nufft')}, {n} samples from {spokes[0, 0, 0]:.2f} to {spokes[0, -1, 0]:.2f}")
    print(f"step {step:.4f}, nearest to the centre {nearest:.3f}")
    wrong = wrong and np.isclose(step, n / (n - 1)) and nearest > 0.4
sys.exit(0 if wrong else 1)
PYTHON
