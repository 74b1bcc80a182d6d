#!/usr/bin/env bash
# h5py 3.16.0: `.astype` of a complex MATLAB 7.3 variable reads zeros, without an error or a warning.
#
# MATLAB stores complex numbers in HDF5 as pairs (real, imag), h5py as pairs (r, i). One expects
# `dataset.astype("complex64")` to convert one pair to the other, or to fail as NumPy's `astype` of such an array
# does. HDF5 matches members by name, finds none in common, and fills in zeros. Reading into a complex array with
# `read_direct` leaves that array as it was. Seen with h5py 3.14.0 (HDF5 1.14.6) and 3.16.0 (HDF5 2.0.0); hdf5storage
# 0.2.2 writes the file here, as MATLAB would. What works: `dataset[()].view("complex64").T` (the axes are reversed,
# too).
#
# The script exits with 0 if the values read are still all zero, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    h5py==3.16.0 hdf5storage==0.2.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" -W error - <<'PYTHON'
import sys

import h5py
import hdf5storage
import numpy as np

kspace = np.array([[1 + 2j, 3 + 4j, 5 + 6j]], np.complex64)
hdf5storage.savemat("kspace.mat", {"kspace": kspace}, format="7.3")
with h5py.File("kspace.mat", "r") as file:
    dataset = file["kspace"]
    viewed = dataset[()].view(np.complex64).T
    converted = dataset.astype(np.complex64)[()]
    in_place = np.full(dataset.shape, 7, np.complex64)
    dataset.read_direct(in_place)
    print(f"h5py {h5py.__version__}: {dataset.dtype}, written {kspace.ravel()}")
    print(f"view {viewed.ravel()}, astype {converted.ravel()}, read_direct into sevens {in_place.ravel()}")
assert np.array_equal(viewed, kspace)
sys.exit(0 if not converted.any() and (in_place == 7).all() else 1)
PYTHON
