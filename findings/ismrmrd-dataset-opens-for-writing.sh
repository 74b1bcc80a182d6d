#!/usr/bin/env bash
# ismrmrd 1.15.0: whoever reads a file with `ismrmrd.Dataset(path)` opens it for writing.
#
# One expects a class that is used to read raw data to leave them alone. By default it opens the file for reading and
# writing:
#   a second process that does the same, also only to read, gets a BlockingIOError from HDF5's lock;
#   the file has a new modification time afterwards, so that make, rsync and caches take it for changed data;
#   a misspelled name is no error at that point: an empty file of that name appears.
# With `mode="r"` two readers work side by side, and nothing is changed. Version 1.14.2 has no such argument.
#
# The script exits with 0 if all three still happen, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    ismrmrd==1.15.0 h5py==3.16.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys

import ismrmrd
import numpy as np

with ismrmrd.Dataset("raw.h5") as data:
    data.append_acquisition(ismrmrd.Acquisition.from_array(np.ones((4, 8), np.complex64)))
os.utime("raw.h5", (0, 0))


def second_reader(arguments: str) -> bool:
    command = f"import ismrmrd; ismrmrd.Dataset('raw.h5'{arguments}).read_acquisition(0)"
    return subprocess.run([sys.executable, "-c", command], stderr=subprocess.DEVNULL).returncode == 0


with ismrmrd.Dataset("raw.h5", mode="r") as data:
    assert second_reader(", mode='r'") and os.stat("raw.h5").st_mtime == 0
with ismrmrd.Dataset("raw.h5") as data:
    data.read_acquisition(0)
    refused = not second_reader("")
touched = os.stat("raw.h5").st_mtime > 0
ismrmrd.Dataset("misspelled.h5").close()
created = os.path.exists("misspelled.h5")
print(f"ismrmrd {ismrmrd.__version__}: second reader refused {refused}, time changed {touched}, file created {created}")
sys.exit(0 if refused and touched and created else 1)
PYTHON
