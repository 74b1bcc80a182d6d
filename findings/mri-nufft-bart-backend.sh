#!/usr/bin/env bash
# mri-nufft 1.5.1 with its backend "bart" computes another transform than BART and than its other backends.
#
# All backends take the same arguments, so one expects the same samples from BART as from finufft, to BART's accuracy
# (1e-3 or better). They differ by 60 to 70 %, also after the best scale: the trajectory is written to BART's file
# with N - 1 instead of N times the frequency. If the coordinates are multiplied by N / (N - 1) before, the difference
# is as expected. Seen with BART 0.8.00 and 1.0.00 for 32 x 32 random pixels. Whoever compares BART with other NUFFTs
# in this way finds BART wrong. BART is taken from the variable BART, or from PATH.
#
# The script exits with 0 if the difference is still above 20 %, and below 1 % with the other coordinates; with 1
# otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    mri-nufft==1.5.1 finufft==2.5.1 numpy==2.4.6

mkdir "$folder/bin"
ln -s "$(command -v "${BART:-bart}")" "$folder/bin/bart"
PATH=$folder/bin:$PATH "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import subprocess
import sys

import mrinufft
import numpy as np

n = 32
random = np.random.default_rng(0)
image = (random.normal(size=(n, n)) + 1j * random.normal(size=(n, n))).astype(np.complex64)
radians = (2 * np.pi * random.uniform(-0.45, 0.45, (400, 2))).astype(np.float32)
exact = mrinufft.get_operator("finufft")(radians, (n, n)).op(image).ravel()


def error(positions):
    samples = mrinufft.get_operator("bart")(positions, (n, n)).op(image).ravel()
    scale = np.vdot(exact, samples) / np.vdot(exact, exact)
    return np.linalg.norm(samples / scale - exact) / np.linalg.norm(exact)


plain, corrected = error(radians), error((radians * n / (n - 1)).astype(np.float32))
bart = subprocess.run(["bart", "version"], capture_output=True, text=True).stdout.strip()
print(f"BART {bart} by mri-nufft, difference from finufft: {plain:.2f}")
print(f"with coordinates times N / (N - 1): {corrected:.1e}")
sys.exit(0 if plain > 0.2 and corrected < 0.01 else 1)
PYTHON
