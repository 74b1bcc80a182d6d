"""Lines of ISMRMRD files that are no samples of the image: calibration and other flags. Cases of public bug reports."""

import h5py
import ismrmrd
import numpy as np
import pytest
import yaml

from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.importers import open_source
from tests import foreign
from tests.bart_bridge.importers.sources import import_

LINES = foreign.regular_lines()
CALIBRATION, BOTH = ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING


def write_raw(truth, path, flags_of, scale=1.0):
    """Lines of one slice; those without flags (None) are missing, those for calibration alone are scaled."""
    with ismrmrd.Dataset(str(path), "dataset") as data:
        data.write_xml_header(foreign.header(readout=foreign.X, view=1.0).encode())
        for y in range(foreign.Y):
            flags = flags_of(y)
            if flags is None:
                continue
            line = foreign.acquisition(truth.kspace[0, :, y] * (scale if CALIBRATION in flags else 1))
            line.idx.kspace_encode_step_1 = y
            for flag in flags:
                line.set_flag(flag)
            data.append_acquisition(line)
    return path


def embedded(y, *more):
    """Every second line, and in the centre all: those off the grid for calibration alone."""
    central = 6 <= y < 30
    if y % 2:
        return [CALIBRATION] if central else None
    return [BOTH, *more] if central else []


@pytest.mark.parametrize(
    "more", [(), (CALIBRATION,), (ismrmrd.ACQ_IS_NAVIGATION_DATA,), (ismrmrd.ACQ_IS_NOISE_MEASUREMENT,)], ids=str
)
def test_calibration_lines_feed_ecalib_and_are_no_samples(truth, toolbox, tmp_path, more):
    path = write_raw(truth, tmp_path / "raw.h5", lambda y: embedded(y, *more))
    imported, arrays = import_(tmp_path / "data", "ismrmrd", path, toolbox=toolbox)
    even = np.arange(foreign.Y) % 2 == 0
    np.testing.assert_array_equal(arrays["kspace"][0], truth.kspace[0] * even[:, None])
    np.testing.assert_array_equal(arrays["pattern"][0, 0, :, 0], even)
    assert "reference" not in arrays
    assert imported.left_out == {"lines for calibration alone (no samples, but ecalib uses them)": 12}
    central = np.where(((np.arange(foreign.Y) >= 6) & (np.arange(foreign.Y) < 30))[:, None], truth.kspace[0], 0)
    whole = np.where(even[:, None], truth.kspace[0], central)
    expected = toolbox.compute("ecalib", "-m", 1, from_batch_coil_yx(whole[None]))
    np.testing.assert_array_equal(cfl.read(tmp_path / "data/test/coils").squeeze(), expected.squeeze())


def test_calibration_of_its_own_contrast_does_not_reach_the_data(truth, toolbox, tmp_path):
    """A separate scan covers the centre twice."""
    path = write_raw(truth, tmp_path / "raw.h5", lambda y: [] if y % 2 == 0 else None)
    with ismrmrd.Dataset(str(path), "dataset") as data:
        for y in range(6, 30):
            line = foreign.acquisition(3 * truth.kspace[0, :, y], CALIBRATION)
            line.idx.kspace_encode_step_1, line.idx.contrast = y, 1
            data.append_acquisition(line)
    _, arrays = import_(tmp_path / "data", "ismrmrd", path, toolbox=toolbox)
    even = (np.arange(foreign.Y) % 2 == 0)[:, None]
    np.testing.assert_array_equal(arrays["kspace"][0], truth.kspace[0] * even)
    inside = np.abs(truth.images[0]) > 0.2 * np.abs(truth.images[0]).max()
    found, known = arrays["coils"][0, 0][:, inside], truth.coils[:, inside]
    # Each pixel has a phase of its own.
    alike = np.abs(np.sum(found.conj() * known, axis=0)) / np.linalg.norm(found, axis=0) / np.linalg.norm(known, axis=0)
    assert np.median(alike) > 0.95


def test_a_surface_coil_flag_drops_nothing_and_what_is_dropped_is_counted(truth, coils, tmp_path):
    surface, noise = ismrmrd.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA, ismrmrd.ACQ_IS_NOISE_MEASUREMENT
    path = write_raw(truth, tmp_path / "raw.h5", lambda y: {0: [noise], 5: [noise, surface]}.get(y, [surface]))
    imported, arrays = import_(tmp_path / "data", "ismrmrd", path, coils)
    assert imported.left_out == {"lines flagged ACQ_IS_NOISE_MEASUREMENT": 2}
    np.testing.assert_array_equal(arrays["pattern"][0, 0, :, 0] == 0, np.isin(np.arange(foreign.Y), [0, 5]))
    description = yaml.safe_load((tmp_path / "data/dataset.yaml").read_text())
    assert description["import"]["left_out"] == imported.left_out


def test_a_file_without_image_lines_says_what_its_lines_are(truth, tmp_path):
    noise = ismrmrd.ACQ_IS_NOISE_MEASUREMENT
    path = write_raw(truth, tmp_path / "raw.h5", lambda y: [noise] if y < 20 else [CALIBRATION])
    with pytest.raises(InputError, match=r"no image lines in it \(lines flagged .*NOISE_.*: 20, calibration .*: 16\)"):
        open_source("ismrmrd", path)


def test_samples_and_lines_that_are_not_taken_are_counted(truth, coils, tmp_path):
    path = write_raw(truth, tmp_path / "raw.h5", lambda y: [])
    with h5py.File(path, "r+") as file:
        lines = file["dataset/data"][()]
        lines["head"]["discard_pre"] = 2
        lines["data"][3][:] = 0
        file["dataset/data"][...] = lines
    imported, arrays = import_(tmp_path / "data", "ismrmrd", path, coils)
    discarded = {"samples that their lines say to discard": 2 * foreign.Y}
    assert imported.left_out == {**discarded, "lines without any signal": 1}
    assert not arrays["pattern"][0, 0, 3].any()
