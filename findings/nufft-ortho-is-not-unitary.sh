#!/usr/bin/env bash
# torchkbnufft 1.5.2 with norm="ortho" and mri-nufft 1.5.1 are not unitary: for 2D images everything is half as large.
#
# Samples of a full Cartesian grid are a Fourier transform. With norm="ortho" one expects that of numpy.fft or
# torch.fft, which keeps the norm; sigpy and BART's `nufft` agree with it. Here the norm is that of the grid of twice
# as many pixels which both use inside: samples are half of the expected for 2D images, and 1 / sqrt(8) for 3D. A data
# term or a lambda that was tuned with one package is off by 4 or 8 with the other.
#
# PyTorch comes from where pip is configured to look. A CPU build is enough, and much smaller than Linux's default.
#
# The script exits with 0 if both are still half of numpy.fft, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    torchkbnufft==1.5.2 torch==2.13.0 mri-nufft==1.5.1 finufft==2.5.1 numpy==2.4.6

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import mrinufft
import numpy as np
import torch
import torchkbnufft

n = 32
random = np.random.default_rng(0)
image = (random.normal(size=(n, n)) + 1j * random.normal(size=(n, n))).astype(np.complex64)
grid = np.stack(np.meshgrid(*[(np.arange(n) - n // 2) / n] * 2, indexing="ij"), -1).reshape(-1, 2)
radians = (2 * np.pi * grid).astype(np.float32)
exact = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho")).ravel()

transform = torchkbnufft.KbNufft(im_size=(n, n))
with_torch = transform(torch.tensor(image)[None, None], torch.tensor(radians.T), norm="ortho")
with_mri_nufft = mrinufft.get_operator("finufft")(radians, (n, n)).op(image)
factors = {}
for name, samples in (("torchkbnufft", with_torch.numpy().ravel()), ("mri-nufft", with_mri_nufft.ravel())):
    factors[name] = np.vdot(exact, samples).real / np.vdot(exact, exact).real
    print(f"{name}: {factors[name]:.4f} times the unitary transform")
sys.exit(0 if all(abs(factor - 0.5) < 0.01 for factor in factors.values()) else 1)
PYTHON
