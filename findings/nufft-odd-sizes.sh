#!/usr/bin/env bash
# mri-nufft 1.5.1 (backend "numpy") and pynufft 2025.2.1 are wrong for images of odd size.
#
# With N pixels, the one of number floor(N / 2) is the centre, for odd sizes, too: so in numpy.fft.fftshift, finufft
# and sigpy. One expects all NUFFTs to agree. For 33 x 33 pixels they do not: mri-nufft's "numpy" backend, a sum
# without approximations to compare others with, has its centre between two pixels, and so has pynufft. Both are off
# by 150 % from the exact sum and from finufft, also after the best scale, without an error or a warning. For 32 x 32
# pixels all agree. (BART's `nufft` before 1.0.00 had such an error, too.)
#
# The script exits with 0 if both are still right for 32 and wrong by more than 50 % for 33 pixels, and with 1
# otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    mri-nufft==1.5.1 finufft==2.5.1 pynufft==2025.2.1 numpy==2.4.6

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import mrinufft
import numpy as np
import pynufft


def error(samples, exact):
    samples = np.ravel(samples)
    scale = np.vdot(exact, samples) / np.vdot(exact, exact)
    return np.linalg.norm(samples / scale - exact) / np.linalg.norm(exact)


random = np.random.default_rng(0)
errors = {}
for n in (32, 33):
    image = (random.normal(size=(n, n)) + 1j * random.normal(size=(n, n))).astype(np.complex64)
    positions = random.uniform(-0.45, 0.45, (400, 2)).astype(np.float32)  # in cycles per pixel
    waves_0, waves_1 = np.exp(-2j * np.pi * positions.T[:, :, None] * (np.arange(n) - n // 2))
    exact = np.einsum("ki,ij,kj->k", waves_0, image, waves_1)
    radians = (2 * np.pi * positions).astype(np.float32)
    for backend in ("finufft", "numpy"):
        errors[backend, n] = error(mrinufft.get_operator(backend)(radians, (n, n)).op(image), exact)
    plan = pynufft.NUFFT()
    plan.plan(radians, (n, n), (2 * n, 2 * n), (6, 6))
    errors["pynufft", n] = error(plan.forward(image), exact)
for (name, n), value in errors.items():
    print(f"{name}, {n} x {n} pixels: relative error {value:.1e}")
assert max(errors["finufft", 32], errors["finufft", 33], errors["numpy", 32], errors["pynufft", 32]) < 1e-4
sys.exit(0 if min(errors["numpy", 33], errors["pynufft", 33]) > 0.5 else 1)
PYTHON
