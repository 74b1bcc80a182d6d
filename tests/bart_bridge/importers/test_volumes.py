"""What is special in volumes: partial Fourier, and parts that no scanner measured."""

import h5py
import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.importers import open_source
from bart_bridge.inspection import inspect
from tests import foreign, foreign_volumes
from tests.foreign import import_all
from tests.foreign_volumes import FIRST, READOUT
from tests.helper import relative_difference

INSIDE = f"{FIRST}-{FIRST + foreign.SLICES - 1}"
PARTITIONS = 28  # of 32 in which Calgary-Campinas measures


# Calgary-Campinas


@pytest.fixture(scope="module")
def smooth():
    return foreign_volumes.make_band_limited_truth()


@pytest.fixture
def smooth_coils(smooth, tmp_path):
    return str(foreign.write_coils(smooth, tmp_path / "smooth_coils"))


def test_volumes_of_two_sizes_in_one_folder(truth, tmp_path):
    for name in ("e1.h5", "e2.h5"):
        foreign_volumes.write_calgary(truth, tmp_path / name)
    with h5py.File(tmp_path / "e2.h5") as file, h5py.File(tmp_path / "e3.h5", "w") as smaller:
        smaller["kspace"] = file["kspace"][:, :, :-2]
    with pytest.raises(InputError, match=r"size=36x32,coils=4 \(2 files\); size=36x30,coils=4 \(1 file\)"):
        open_source("calgary-campinas", tmp_path)
    assert inspect(tmp_path).options == {"match": "size=36x32,coils=4"}
    assert open_source("calgary-campinas", tmp_path, match="size=36x30").description["files"] == ["e3.h5"]
    source = open_source("calgary-campinas", tmp_path, match="size=36x32")
    assert list(source.units) == ["0", "1"]
    assert source.units["1"][FIRST].name == f"e2.h5/{FIRST}"
    assert source.left_out["files that --match does not take"] == 1


def test_the_image_is_that_of_the_owners_reconstruction(smooth, smooth_coils, tmp_path):
    """Root sum of squares of the plain inverse DFT, as github.com/rmsouza01/MC-MRI-Rec shows its images."""
    path = foreign_volumes.write_calgary(smooth, tmp_path / "volume.h5")
    _, arrays = import_all(tmp_path / "data", "calgary-campinas", path, smooth_coils, INSIDE)
    with h5py.File(path) as file:
        parts = file["kspace"][FIRST : FIRST + foreign.SLICES]
    owners = np.abs(np.fft.ifft2(parts[..., ::2] + 1j * parts[..., 1::2], axes=(1, 2), norm="ortho"))
    ours = np.abs(foreign.dft(arrays["kspace"].conj()))
    assert relative_difference(np.sqrt(np.sum(ours**2, axis=1)), np.sqrt(np.sum(owners**2, axis=-1))) < 1e-5


@pytest.mark.parametrize("beyond", [0, 3.0])
def test_slice_encodings_beyond_85_percent_are_not_sampled(smooth, smooth_coils, tmp_path, beyond):
    path = foreign_volumes.write_calgary(smooth, tmp_path / "volume.h5", beyond=beyond)
    imported, arrays = import_all(tmp_path / "data", "calgary-campinas", path, smooth_coils, INSIDE)
    np.testing.assert_array_equal(arrays["pattern"][0, 0], np.tile(np.arange(32) < PARTITIONS, (foreign.Y, 1)))
    assert not arrays["kspace"][..., PARTITIONS:].any()
    notes = {"partial Fourier along the slice encoding: the last 4 of 32 were not measured": 3}
    if beyond:
        notes["values beyond 85% of the slice encodings were not measured: set to 0"] = 3
    assert imported.notes == notes
    assert "87.5% sampled (acceleration 1.14), a reference" in str(imported)


def test_drawn_patterns_stay_where_something_was_measured(smooth, smooth_coils, tmp_path):
    path = foreign_volumes.write_calgary(smooth, tmp_path / "volume.h5")
    _, arrays = import_all(tmp_path / "data", "calgary-campinas", path, smooth_coils, INSIDE, "random")
    assert arrays["pattern"][..., :PARTITIONS].any()
    assert not arrays["pattern"][..., PARTITIONS:].any()


def test_an_undersampled_volume_has_no_reference(smooth, smooth_coils, tmp_path):
    mask = np.random.default_rng(0).uniform(size=(foreign.Y, foreign.X)) < 0.4
    path = foreign_volumes.write_calgary(smooth, tmp_path / "volume.h5", undersampled=mask)
    _, arrays = import_all(tmp_path / "data", "calgary-campinas", path, smooth_coils, INSIDE)
    np.testing.assert_array_equal(arrays["pattern"][0, 0], mask & (np.arange(foreign.X) < PARTITIONS))
    assert "reference" not in arrays


def test_the_owners_poisson_disc_patterns(smooth, smooth_coils, tmp_path):
    """A stack of patterns, which the slices take in turn."""
    path = foreign_volumes.write_calgary(smooth, tmp_path / "volume.h5")
    patterns = np.random.default_rng(0).uniform(size=(2, foreign.Y, foreign.X)) < 0.4
    np.save(tmp_path / "R5.npy", patterns & (np.arange(foreign.X) < PARTITIONS))
    _, arrays = import_all(tmp_path / "data", "calgary-campinas", path, smooth_coils, INSIDE, str(tmp_path / "R5.npy"))
    expected = (patterns & (np.arange(foreign.X) < PARTITIONS))[[0, 1, 0]]
    np.testing.assert_array_equal(arrays["pattern"][:, 0], expected)
    np.save(tmp_path / "R5.npy", patterns)
    with pytest.raises(InputError, match=r"R5.npy: the pattern samples \d+ positions not measured"):
        import_all(tmp_path / "again", "calgary-campinas", path, smooth_coils, INSIDE, str(tmp_path / "R5.npy"))


def test_published_slices_of_volumes(tmp_path):
    for name, positions in (("a", 256), ("b", 256)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("kspace", (positions, 20, 16, 24), np.float32)
    (tmp_path / "._a.h5").touch()
    source = open_source("calgary-campinas", tmp_path)
    names = [entry.name for entry in source.split({"test": "1"}, None)["test"]]
    assert (names[0], names[-1], len(names)) == ("b.h5/50", "b.h5/205", 156)
    assert source.left_out["AppleDouble files (._*)"] == 1
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("kspace", (100, 20, 16, 24), np.float32)
    source = open_source("calgary-campinas", tmp_path / "c.h5")
    assert "need 256 positions" in source.slices_note
    assert len(source.split({}, None)["test"]) == 100


# Volumes of BART


def test_positions_along_the_readout_are_slices(truth, coils, tmp_path):
    path = foreign_volumes.write_bart_volume(truth, tmp_path / "kspace")
    _, arrays = import_all(tmp_path / "data", "cfl", path, coils)
    assert len(arrays["kspace"]) == READOUT
    assert relative_difference(arrays["reference"][FIRST:5, 0], truth.images) < 1e-5
    assert relative_difference(arrays["reference"][:FIRST, 0], 2 * truth.images[[1, 1]]) < 1e-5


def test_partial_fourier_of_a_volume_is_kept_as_unsampled_and_told(truth, coils, tmp_path):
    mask = (np.arange(foreign.Y) >= 9)[:, None, None]
    path = foreign_volumes.write_bart_volume(truth, tmp_path / "kspace", mask)
    imported, arrays = import_all(tmp_path / "data", "cfl", path, coils)
    line = "partial Fourier along the second phase encoding: the first 9 of 36 were not measured"
    assert imported.notes == {line: READOUT}
    np.testing.assert_array_equal(arrays["pattern"][0, 0, :, 0], np.arange(foreign.Y) >= 9)
    assert "reference" not in arrays


def test_an_asymmetric_echo_of_a_volume_is_told(truth, coils, tmp_path):
    path = foreign_volumes.write_bart_volume(truth, tmp_path / "kspace", np.arange(READOUT) < READOUT - 3)
    imported, _ = import_all(tmp_path / "data", "cfl", path, coils)
    assert "asymmetric echo: the last 3 of 8 were not measured; they count as 0" in imported.notes


def test_poisson_discs_of_bart(truth, toolbox, coils, tmp_path):
    poisson = toolbox.compute("poisson", "-Y", foreign.X, "-Z", foreign.Y, "-y", 1.5, "-z", 1.5, "-C", 6)
    mask = poisson.reshape(foreign.X, foreign.Y).T != 0
    path = foreign_volumes.write_bart_volume(truth, tmp_path / "kspace", mask[..., None])
    imported, arrays = import_all(tmp_path / "data", "cfl", path, coils)
    np.testing.assert_array_equal(arrays["pattern"][3, 0], mask)
    assert not imported.notes


def test_a_readout_along_another_axis_is_refused(truth, coils, tmp_path):
    mask = (np.arange(READOUT) % 2 == 0)[None, None]
    path = foreign_volumes.write_bart_volume(truth, tmp_path / "kspace", mask)
    with pytest.raises(InputError, match="kspace: x: the readout of a volume must be fully sampled"):
        import_all(tmp_path / "data", "cfl", path, coils)
    assert not (tmp_path / "data").exists()
