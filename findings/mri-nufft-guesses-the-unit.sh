#!/usr/bin/env bash
# mri-nufft 1.5.1: the largest coordinate alone decides the unit of all samples.
#
# A trajectory may be in cycles (-0.5 to 0.5) or in radians (-pi to pi). One expects an argument that says which, or
# at least that a small change of one sample changes one sample. If the largest coordinate is above 0.5 by 2e-4 or
# more, as after rounding or a gradient delay, the samples are taken for radians: all of them move to a sixth of their
# distance from the centre, without a warning (there is one in the other case). Here 400 random samples differ in one
# coordinate, 0.5 or 0.501.
#
# The script exits with 0 if the change of one sample still changes all others, without a warning, and with 1
# otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    mri-nufft==1.5.1 finufft==2.5.1 numpy==2.4.6

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import mrinufft
import numpy as np

random = np.random.default_rng(0)
image = (random.normal(size=(32, 32)) + 1j * random.normal(size=(32, 32))).astype(np.complex64)
positions = random.uniform(-0.45, 0.45, (400, 2)).astype(np.float32)  # in cycles per pixel
samples = {}
for largest in (0.499, 0.5, 0.501):
    positions[0, 0] = largest
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        operator = mrinufft.get_operator("finufft")(positions, image.shape)
    units = [str(warning.message) for warning in caught if "rescaled" in str(warning.message)]
    samples[largest] = operator.op(image).ravel()[1:]  # without the sample that was changed
    print(f"mri-nufft {version('mri-nufft')}, largest coordinate {largest}: warnings {units}")
norm = np.linalg.norm
same, changed = (norm(samples[a] - samples[0.499]) / norm(samples[0.499]) for a in (0.5, 0.501))
print(f"change of the other 399 samples: {same:.1e} with 0.5, {changed:.2f} with 0.501")
sys.exit(0 if same < 1e-5 and changed > 0.5 and not units else 1)
PYTHON
