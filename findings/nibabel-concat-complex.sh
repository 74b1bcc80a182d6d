#!/usr/bin/env bash
# nibabel 5.4.2: joining complex images keeps the type complex64 and loses the imaginary part.
#
# `nibabel.concat_images` of complex NIfTI images gives an image whose header says complex64, as one expects. Its
# imaginary part is 0: the function collects the images in an array of doubles. NumPy warns, but file and header look
# complete afterwards, and the phase is gone. `get_fdata()`, which also drops the imaginary part, at least answers
# with a real array; slicing, splitting (`four_to_three`) and saving keep complex values.
#
# The script exits with 0 if the joined image is still complex64 without an imaginary part, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check nibabel==5.4.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import nibabel
import numpy as np

image = nibabel.Nifti1Image(np.full((4, 4, 1), 3 + 4j, np.complex64), np.eye(4))
nibabel.save(nibabel.concat_images([image, image]), "joined.nii")
joined = nibabel.load("joined.nii")
values = np.asarray(joined.dataobj)
split = np.asarray(nibabel.four_to_three(nibabel.Nifti1Image(np.stack([image.dataobj] * 2, -1), np.eye(4)))[0].dataobj)
print(f"nibabel {nibabel.__version__}: header {joined.get_data_dtype()}, values {np.unique(values)}, expected [3.+4.j]")
assert (split == 3 + 4j).all()
sys.exit(0 if joined.get_data_dtype() == np.complex64 and (values == 3).all() else 1)
PYTHON
