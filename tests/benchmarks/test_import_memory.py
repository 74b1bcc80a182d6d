"""Memory of an import that is larger than it: 4 GB in the form of a fastMRI brain volume, and 9 GB of disk.

With the coils from a file it takes a minute; with those of ecalib, 83 times ecalib: ten minutes of a core.

python -m pytest -m slow tests/benchmarks/test_import_memory.py -s
"""

import shutil
import sys

import h5py
import numpy as np
import pytest

from bart_bridge.tools import process
from tests import foreign

SLICES, COILS, READOUT, PHASE = 83, 20, 768, 396
LIMIT_BYTES = 1.5e9


def write_volume(path):
    """Coil images of an ellipse, with another brightness in each slice."""
    y, x = np.mgrid[-1 : 1 : PHASE * 1j, -1 : 1 : READOUT * 1j]
    body = (np.hypot(x / 0.4, y / 0.8) < 1) * (1 + 0.3 * np.sin(20 * x * y))
    angles = 2 * np.pi * np.arange(COILS)[:, None, None] / COILS
    coils = np.exp(-((x - 0.6 * np.cos(angles)) ** 2) - (y - np.sin(angles)) ** 2 + 1j * angles)
    kspace = foreign.dft(coils * body).astype(np.complex64).transpose(0, 2, 1)
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("kspace", (SLICES, *kspace.shape), np.complex64)
        for number in range(SLICES):
            stored[number] = kspace * (1 + number / SLICES)
        file["ismrmrd_header"] = foreign.header(readout=READOUT)
    return path


@pytest.fixture
def large_folder(tmp_path):
    """A folder that is emptied at once: pytest would keep those of three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("coils", ["ecalib", "file"])
def test_four_gigabytes_are_imported_with_little_memory(large_folder, coils):
    source = write_volume(large_folder / "volume.h5")
    assert source.stat().st_size > 4e9
    options = ["--pattern", "regular", "--acceleration", "4"]
    if coils == "file":
        from bart_bridge.files import cfl

        cfl.write(large_folder / "coils", np.ones((READOUT // 2, PHASE, 1, COILS)) / np.sqrt(COILS))
        options += ["--coils", str(large_folder / "coils")]
    command = [sys.executable, "-c", "from compare.cli import main; main()", "import", "fastmri"]
    argv = [*command, str(source), str(large_folder / "data"), *options]
    finished = process.run(argv, folder=large_folder, on_line=lambda line: print(line, file=sys.stderr))
    assert finished.returncode == 0, finished.stderr
    written = sum(file.stat().st_size for file in (large_folder / "data").rglob("*.cfl"))
    sys.stderr.write(
        f"{source.stat().st_size / 1e9:.2f} GB in, {written / 1e9:.2f} GB out, coils from {coils}: "
        f"peak {finished.peak_rss_bytes / 1e6:.0f} MB, {finished.elapsed_s:.0f} s\n"
    )
    assert finished.peak_rss_bytes < LIMIT_BYTES
