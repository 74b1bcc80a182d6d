"""Files of 4 GB are imported slice by slice, in a memory that does not grow with them."""

import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import cfl

pytestmark = pytest.mark.slow

MEMORY_BYTES = 1.5e9
FILE_BYTES = 4e9
# What starts `bart-tf import` and tells its peak of memory, of which mapped files are a part.
CODE = (
    "import sys; from compare.cli import app; app(sys.argv[1:], standalone_mode=False); "
    "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
)


def noise(*shape):
    return np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]


def write_slices(folder):
    """80 slices of 16 coils."""
    dims = (640, 608, 1, 16, *(1,) * 11, 82)
    return "cfl", write_cfl(folder / "kspace", dims), (16, 608, 640), []


def write_volume(folder):
    """A volume of 256 positions along the readout."""
    return "cfl", write_cfl(folder / "kspace", (256, 320, 256, 24)), (24, 256, 320), []


def write_cfl(path, dims):
    values = noise(dims[0], dims[1], dims[2]).ravel()
    with cfl.files(path)[0].open("wb") as file:
        for _ in range(int(np.prod(dims[3:]))):
            file.write(values.data)
    cfl.files(path)[1].write_text(cfl.header_text(dims))
    return path


def write_calgary(folder):
    with h5py.File(folder / "volume.h5", "w") as file:
        data = file.create_dataset("kspace", (256, 218, 180, 100), np.float32)
        values = noise(218, 180, 50).view(np.float32)
        for position in range(256):
            data[position] = values
    return "calgary-campinas", folder / "volume.h5", (50, 218, 180), ["--slices", "all"]


def write_cmrxrecon(folder):
    pair = np.dtype([("real", "<f8"), ("imag", "<f8")])
    with h5py.File(folder / "cine_sax.mat", "w", userblock_size=512) as file:
        shape = 12, 12, 10, 246, 512
        data = file.create_dataset("kspace_full", (24, *shape[1:]), pair, chunks=(1, 1, 10, 62, 128))
        values = np.empty(shape[2:], pair)
        values["real"], values["imag"] = noise(*shape[2:]).real, noise(*shape[2:]).imag
        for frame in range(24):
            for item in range(12):
                data[frame, item] = values
    return "cmrxrecon", folder / "cine_sax.mat", (10, 246, 512), ["--frames", "all"]


@pytest.mark.parametrize("write", [write_slices, write_volume, write_calgary, write_cmrxrecon])
def test_memory_of_large_files(write, tmp_path):
    check_memory(write(tmp_path), tmp_path)


def check_memory(written, folder):
    """Import what was written into a folder, which is emptied again, and compare the peak of memory with its limit."""
    kind, path, (coils, y, x), options = written
    file = cfl.files(path)[0] if kind == "cfl" else path
    assert file.stat().st_size > FILE_BYTES
    cfl.write(folder / "coils", noise(x, y, 1, coils))
    argv = ["import", kind, path, folder / "data", "--coils", folder / "coils", "-q", *options]
    finished = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, argv)], capture_output=True, text=True, check=True, timeout=3600
    )
    peak_bytes = 1024 * int(finished.stdout.split()[-2])
    sys.stdout.write(f"peak {peak_bytes / 1e9:.2f} GB\n")
    split = Dataset.open(folder / "data").split("test")
    assert cfl.read_dims(split.coils)[:4] == (x, y, 1, coils)
    shutil.rmtree(folder / "data")
    file.unlink()
    assert peak_bytes < MEMORY_BYTES, f"{peak_bytes / 1e9:.2f} GB"
