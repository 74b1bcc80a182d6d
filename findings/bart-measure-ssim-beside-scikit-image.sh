#!/usr/bin/env bash
# BART's `measure --ssim` and scikit-image 0.26.0 have the same window and another covariance.
#
# Both have a window of 7 x 7 equal weights, the same constants, and leave out 3 pixels all around. One expects the
# same number for magnitudes and a data range of the reference's maximum. scikit-image divides the covariance by 48 by
# default, BART by 49: 5e-4 apart for this noisy phantom. With `use_sample_covariance=False` they agree to 1e-5.
# fastMRI takes scikit-image's default. Seen with BART 0.8.00, 0.9.00 and 1.0.00; BART is taken from the variable
# BART, or from PATH.
#
# The script exits with 0 if only the population covariance agrees to 2e-5, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    scikit-image==0.26.0 numpy==2.4.6

bart=$(command -v "${BART:-bart}")
cd "$folder"
"$bart" phantom -x 64 reference
"$bart" noise -n 0.01 reference image
"$bart" measure --ssim reference image >measured 2>&1
"$folder/venv/bin/python" - <<'PYTHON'
import re
import sys

import numpy as np
import skimage
from skimage.metrics import structural_similarity


def magnitude(name: str) -> np.ndarray:
    return np.abs(np.fromfile(f"{name}.cfl", np.complex64)).reshape(64, 64)


reference, image = magnitude("reference"), magnitude("image")
(measured,) = map(float, re.findall(r"\d\.\d+e[-+]\d+", open("measured").read()))
peak = reference.max()
sample = structural_similarity(reference, image, data_range=peak)
population = structural_similarity(reference, image, data_range=peak, use_sample_covariance=False)
print(f"BART {measured:.6f}; scikit-image {skimage.__version__} {sample:.6f}, of the population {population:.6f}")
sys.exit(0 if abs(measured - population) < 2e-5 < 1e-4 < abs(measured - sample) else 1)
PYTHON
