"""A file of 4 GB becomes a dataset, and is exported, with less than 1.5 GB of memory: slices are read one at a time."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from tests import foreign_raw
from tests.helper import random_complex

pytestmark = pytest.mark.slow

SOURCE_BYTES = 4_000_000_000
PEAK_BYTES = 1_500_000_000
# In a process of its own, whose high-water mark is that of the work alone.
CHILD = """
import json, sys
from pathlib import Path
arguments = json.loads(sys.argv[1])
if arguments["what"] == "import":
    from bart_bridge.importers import open_source
    from bart_bridge.importers.convert import ImportPlan, convert
    source = open_source(arguments["kind"], Path(arguments["path"]), **arguments["options"])
    units = "0-3" if arguments["kind"] == "fastmri-breast" else "all"  # each block of slices reads the whole file
    plan = ImportPlan(source.split({"test": units}, None), coils=arguments["coils"])
    convert(source, Path(arguments["folder"]), plan, lambda: None)
else:
    from bart_bridge.exporters import export
    export(arguments["kind"], Path(arguments["path"]), Path(arguments["folder"]))
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(int(line.split()[1]) * 1024)
"""


def noise(*shape):
    return random_complex(np.random.default_rng(0), *shape).astype(np.complex64)


def write_fastmri(folder):
    """Knees of 15 coils, 640 x 368."""
    values = noise(15, 640, 368)
    slices = SOURCE_BYTES // values.nbytes + 1
    with h5py.File(folder / "file.h5", "w") as file:
        kspace = file.create_dataset("kspace", (slices, *values.shape), np.complex64)
        for number in range(slices):
            kspace[number] = values * (number + 1)
        file["ismrmrd_header"] = foreign_raw.header((640, 368, 1), 320)
    return folder / "file.h5", (15, 368, 320)


def write_prostate(folder):
    """Three averages of 20 coils, 640 x 400."""
    values = noise(20, 640, 400)
    slices = SOURCE_BYTES // (3 * values.nbytes) + 1
    with h5py.File(folder / "file.h5", "w") as file:
        kspace = file.create_dataset("kspace", (3, slices, *values.shape), np.complex64)
        for average in range(3):
            for number in range(slices):
                kspace[average, number] = values * (np.arange(400) % 2 == average % 2) * (number + 1)
        file["calibration_data"] = noise(slices, 20, 640, 24)
        file["ismrmrd_header"] = foreign_raw.header((640, 400, 1), 320)
    return folder / "file.h5", (20, 400, 320)


def write_m4raw(folder):
    """Scans of two repetitions, 18 slices of 4 coils, 256 x 256."""
    values = noise(18, 4, 256, 256)
    for scan in range(SOURCE_BYTES // (2 * values.nbytes) + 1):
        for repetition in (1, 2):
            with h5py.File(folder / f"{2022061000 + scan}_T1{repetition:02}.h5", "w") as file:
                file["kspace"] = values * (scan + repetition)
    return folder, (4, 256, 256)


def write_skm_tea(folder):
    """8 coils, 2 echoes, 512 x 160; the file has sensitivities."""
    shape = (512, 160)
    echoes, maps, target = noise(*shape, 2, 8), noise(*shape, 8, 1), noise(*shape, 2, 1)
    positions = SOURCE_BYTES // (echoes.nbytes + maps.nbytes + target.nbytes) + 1
    with h5py.File(folder / "MTR_001.h5", "w") as file:
        for name, values in {"kspace": echoes, "maps": maps, "target": target}.items():
            stored = file.create_dataset(name, (positions, *values.shape), np.complex64)
            for number in range(positions):
                stored[number] = values * (number + 1)
    return folder / "MTR_001.h5", None


def write_breast(folder):
    """Twice the spokes of a published file: 16 coils, 640 samples, 83 partitions."""
    values = np.stack([noise(640, 16, 83).real, noise(640, 16, 83).imag])
    spokes = SOURCE_BYTES // values.nbytes + 1
    with h5py.File(folder / "file.h5", "w") as file:
        kspace = file.create_dataset("kspace", (2, spokes, *values.shape[1:]), np.float32)
        for number in range(spokes):
            kspace[:, number] = values * (number + 1)
    return folder / "file.h5", (16, 320, 320)


WRITERS = {
    "fastmri": ("fastmri", write_fastmri, {}),
    "fastmri prostate": ("fastmri", write_prostate, {}),
    "fastmri breast": ("fastmri-breast", write_breast, {}),
    "m4raw": ("m4raw", write_m4raw, {"repetition": "average"}),
    "skm-tea": ("skm-tea", write_skm_tea, {"contrast": "0"}),
}


def peak_bytes(**arguments):
    child = [sys.executable, "-c", CHILD, json.dumps(arguments)]
    finished = subprocess.run(child, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return int(finished.stdout)


@pytest.mark.parametrize("name", WRITERS)
def test_a_large_file_is_read_slice_by_slice(tmp_path, name):
    kind, write, options = WRITERS[name]
    (tmp_path / "source").mkdir()
    path, coils = write(tmp_path / "source")
    size = sum(file.stat().st_blocks * 512 for file in (tmp_path / "source").iterdir())
    assert size >= SOURCE_BYTES
    if coils:
        cfl.write(tmp_path / "coils", from_batch_coil_yx(noise(1, *coils)))
    choice = str(tmp_path / "coils") if coils else ""
    peaks = {
        "import": peak_bytes(
            what="import", kind=kind, path=str(path), folder=str(tmp_path / "data"), coils=choice, options=options
        )
    }
    for file in [path] if path.is_file() else path.iterdir():
        file.unlink()
    if name == "fastmri":
        peaks["export"] = peak_bytes(
            what="export", kind="fastmri", path=str(tmp_path / "data"), folder=str(tmp_path / "out")
        )
    sys.stdout.write(f"{name}: {size} bytes of source, peaks in bytes: {peaks}\n")
    assert max(peaks.values()) < PEAK_BYTES, peaks
