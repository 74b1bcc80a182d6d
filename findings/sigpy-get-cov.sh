#!/usr/bin/env bash
# sigpy 0.1.27: `sigpy.mri.get_cov` answers the covariance times the number of samples, and changes its argument.
#
# From noise samples of variance 1 for each coil one expects about the identity matrix. The answer is the scatter
# matrix: it is not divided by the number of samples, so that `sigpy.mri.whiten` with it leaves noise of variance 1 /
# N. And the mean of each coil is subtracted from the caller's array, in place. Divided by N it agrees with numpy.cov.
# BART's `whiten` gives unit variance.
#
# The script exits with 0 if the diagonal is still about N and the caller's array still changes, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check sigpy==0.1.27 numpy==2.4.6

"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import sigpy
import sigpy.mri

coils, count = 3, 10_000
random = np.random.default_rng(0)
noise = (random.normal(size=(coils, count)) + 1j * random.normal(size=(coils, count))) / np.sqrt(2) + 5
given = noise.copy()
covariance = sigpy.mri.get_cov(given)
assert np.allclose(covariance / count, np.cov(noise, bias=True))
whitened = sigpy.mri.whiten(noise - noise.mean(axis=1, keepdims=True), covariance)
print(f"sigpy {sigpy.__version__}: diagonal of the covariance {np.diag(covariance).real.round()}, expected about 1")
print(f"variance after whitening {np.var(whitened):.2e}, expected 1")
print(f"mean of the argument before {noise.mean():.2f}, after {given.mean():.2f}")
sys.exit(0 if np.diag(covariance).real.min() > 0.9 * count and abs(given.mean()) < 1e-9 else 1)
PYTHON
