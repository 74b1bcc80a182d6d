"""Files of `ismrmrd_generate_cartesian_shepp_logan` with each of its options (Debian's ismrmrd-tools 1.8.0)."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx, to_batch_coil_yx
from bart_bridge.importers import open_source
from tests import foreign
from tests.helper import relative_difference

GENERATOR = "ismrmrd_generate_cartesian_shepp_logan"
SIZE, COILS = 48, 4

pytestmark = pytest.mark.skipif(
    not shutil.which(GENERATOR), reason=f"no {GENERATOR} here: apt-get install ismrmrd-tools"
)


@pytest.fixture
def generate(tmp_path):
    def run(*options, noise=0, size=SIZE):
        path = tmp_path / "testdata.h5"
        argv = [GENERATOR, "-m", size, "-c", COILS, "-n", noise, "-o", path, *options]
        subprocess.run(list(map(str, argv)), check=True, capture_output=True, cwd=tmp_path)
        return path

    return run


def truth_of(path, group="dataset"):
    """The phantom `(y, x)` and the coils `(coil, y, x)` that the generator stores beside its k-space."""
    with h5py.File(path) as file:
        arrays = [file[group][name][()] for name in ("phantom", "csm")]
    phantom, coils = ((array["real"] + 1j * array["imag"])[0] for array in arrays)
    return phantom.astype(np.complex64), coils.astype(np.complex64)


def imported(path, folder, toolbox=None, **options):
    phantom, coils = truth_of(path, options.get("group", "dataset"))
    cfl.write(folder / "csm", from_batch_coil_yx(coils[None]))
    data = foreign.import_to(folder / "data", "ismrmrd", path, coils=str(folder / "csm"), toolbox=toolbox, **options)
    split = Dataset.open(data).split("test")
    split.validate()
    return split, phantom, coils


@pytest.mark.parametrize(
    ("options", "choice", "lines"),
    [
        ((), {}, range(SIZE)),
        (("-d", "scan"), {"group": "scan"}, range(SIZE)),
        (("-r", 3), {"repetition": "1"}, range(SIZE)),
        (("-r", 3), {"repetition": "average"}, range(SIZE)),
        (("-C",), {}, range(SIZE)),
        (("-k",), {}, range(SIZE)),
        (("-C", "-k", "-r", 2, "-a", 2), {"repetition": "0"}, range(0, SIZE, 2)),
        (("-a", 4), {"repetition": "0"}, range(0, SIZE, 4)),
        (("-a", 4), {"repetition": "3"}, range(3, SIZE, 4)),
        (("-a", 4), {"repetition": "average"}, range(SIZE)),
        (("-a", 4, "-w", 24), {"repetition": "1"}, [y for y in range(SIZE) if y % 4 == 1]),
    ],
    ids=str,
)
def test_kspace_is_that_of_the_phantom(generate, tmp_path, options, choice, lines):
    """`-a 4` measures all lines in four repetitions; those that `-w` adds between them are for calibration alone."""
    split, phantom, coils = imported(generate(*options), tmp_path, **choice)
    arrays = split.arrays()
    measured = np.isin(np.arange(SIZE), lines)[:, None]
    np.testing.assert_array_equal(arrays["pattern"][0, 0], np.broadcast_to(measured, (SIZE, SIZE)))
    assert relative_difference(arrays["kspace"][0], measured * foreign.dft(phantom * coils)) < 1e-5
    assert (split.reference is not None) is (len(lines) == SIZE)


@pytest.mark.parametrize("options", [("-r", 3), ("-a", 4)], ids=str)
def test_several_repetitions_need_a_choice(generate, options):
    with pytest.raises(InputError, match=r"it has [34] repetitions \(0, 1, 2.*\); choose one, such as --repetition 0"):
        open_source("ismrmrd", generate(*options))


def test_calibration_width_feeds_ecalib(generate):
    source = open_source("ismrmrd", generate("-a", 4, "-w", 24), repetition="1")
    assert source.left_out["lines for calibration alone (no samples, but ecalib uses them)"] == 18
    calibration = source.units["0"][0].load().calibration
    measured = np.any(calibration != 0, axis=(0, 2))
    assert measured[SIZE // 2 - 12 : SIZE // 2 + 12].all()


def test_noise_scan_and_coordinates_are_counted(generate):
    left_out = open_source("ismrmrd", generate("-C", "-k")).left_out
    assert left_out["lines flagged ACQ_IS_NOISE_MEASUREMENT"] == 1
    assert left_out["coordinates of Cartesian lines"] == SIZE


def test_bart_reconstructs_the_phantom(generate, toolbox, tmp_path):
    split, phantom, _ = imported(generate("-a", 2, "-r", 1), tmp_path, repetition="0")
    kspace, coils, pattern = (cfl.read(getattr(split, name)) for name in ("kspace", "coils", "pattern"))
    found = toolbox.compute("pics", "-w", 1, "-l2", "-r", 1e-7, "-i", 100, "-p", pattern, kspace, coils)
    assert relative_difference(to_batch_coil_yx(found)[0, 0], phantom) < 2e-3


@pytest.mark.parametrize(("factor", "pixels"), [(1, SIZE // 2), (3, 3 * SIZE // 2)])
def test_the_header_is_followed_where_it_contradicts_the_oversampling(generate, factor, pixels):
    """It says two-fold oversampling for each `-O`: one half of the image is cut off, or the image is too wide."""
    source = open_source("ismrmrd", generate("-O", factor))
    assert source.units["0"][0].load().kspace.shape == (COILS, SIZE, pixels)


def test_the_phantom_of_an_odd_matrix_is_not_that_of_its_kspace(generate, tmp_path):
    """Its transform shifts odd sizes the wrong way; the import keeps k-space as it is."""
    split, phantom, coils = imported(generate(size=33), tmp_path)
    assert relative_difference(split.arrays()["kspace"][0], foreign.dft(phantom * coils)) > 0.5
