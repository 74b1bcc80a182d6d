#!/usr/bin/env bash
# scikit-image 0.26.0: `estimate_sigma` of a complex image is 1.75 times the noise of its parts.
#
# The standard deviation of complex noise is either that of each part (1 here) or that of both together (1.41). Most
# of skimage.restoration refuses complex images; `estimate_sigma` takes them, so one expects one of the two numbers.
# It is 1.75: the median of the moduli of the detail coefficients is divided by 0.6745, the median of a real normal
# distribution, where that of two parts (Rayleigh) is 1.18. Right: the estimate of the real part (1.01). That of the
# magnitude image is another number again (0.65).
#
# The script exits with 0 if the estimate is still above 1.6 for the complex image, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    scikit-image==0.26.0 pywavelets==1.9.0 numpy==2.4.6

"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import skimage
from skimage.restoration import estimate_sigma

random = np.random.default_rng(0)
noise = random.normal(size=(256, 256)) + 1j * random.normal(size=(256, 256))
of_complex, of_real = estimate_sigma(noise), estimate_sigma(noise.real)
print(f"scikit-image {skimage.__version__}: {of_complex:.3f} for complex noise, {of_real:.3f} for its real part")
print(f"standard deviations: {np.std(noise.real):.3f} of each part, {np.std(noise):.3f} of both")
sys.exit(0 if of_complex > 1.6 and abs(of_real - 1) < 0.05 else 1)
PYTHON
