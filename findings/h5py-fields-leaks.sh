#!/usr/bin/env bash
# h5py 3.16.0: `dataset.fields("head")` reads arrays of variable length beside the field, and never frees them.
#
# An acquisition of an ISMRMRD file is a compound of a head and two arrays of variable length, positions and samples.
# One expects `fields("head")` to read the heads alone, or at least to give back what else it reads. It reads the
# samples of all acquisitions into memory, which no one can free: heads of a file of 4 GB cost 4 GB for the life of the
# process. Whole rows, `dataset[first:last]["head"]`, are freed. Seen with h5py 3.14.0 (HDF5 1.14.6) and 3.16.0.
#
# The script exits with 0 if most of the samples are still in memory after their heads were read, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    h5py==3.16.0 numpy==2.4.6 psutil==7.2.2

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import gc
import sys

import h5py
import numpy as np
import psutil

ROWS, SAMPLES = 200, 2**18  # 1 MiB each
kind = np.dtype([("head", np.int32), ("samples", h5py.vlen_dtype(np.dtype(np.float32)))])
with h5py.File("lines.h5", "w") as file:
    dataset = file.create_dataset("lines", (ROWS,), kind)
    for number in range(ROWS):
        row = np.empty(1, kind)
        row[0] = number, np.ones(SAMPLES, np.float32)
        dataset[number : number + 1] = row


def growth_mib(read):
    """Read all rows twice, ten at a time, and return by how much the second time enlarges the process."""
    for _ in range(2):
        gc.collect()
        before_bytes = psutil.Process().memory_info().rss
        for first in range(0, ROWS, 10):
            assert len(read(slice(first, first + 10))) == 10
        gc.collect()
        grown_bytes = psutil.Process().memory_info().rss - before_bytes
    return grown_bytes / 2**20


with h5py.File("lines.h5", "r") as file:
    dataset = file["lines"]
    rows = growth_mib(lambda part: dataset[part]["head"])
    fields = growth_mib(lambda part: dataset.fields("head")[part])
print(f"h5py {h5py.__version__}: heads of {ROWS} MiB of samples enlarge the process")
print(f"by {rows:.0f} MiB in whole rows, by {fields:.0f} MiB with fields")
assert rows < 0.1 * ROWS
sys.exit(0 if fields > 0.5 * ROWS else 1)
PYTHON
