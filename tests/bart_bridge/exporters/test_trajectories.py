"""Samples along a trajectory: ISMRMRD has a place for them, and an import gives the same dataset."""

import h5py
import ismrmrd
import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset, new_folder, write_split
from bart_bridge.data.noncartesian import compute
from bart_bridge.errors import InputError
from bart_bridge.exporters import export
from bart_bridge.files.dims import (
    from_batch_coil_samples,
    from_batch_map_coil_yx,
    from_batch_map_yx,
    from_batch_positions,
)
from bart_bridge.inspection import inspect
from tests.bart_bridge.exporters.test_exporters import assert_same, import_again, write_dataset
from tests.helper import random_complex

COUNTS = {"train": 3, "validation": 1, "test": 2}
SPOKES, SAMPLES, COILS = 7, 24, 3


def write_spokes(folder, size=(18, 16), shared=True, reach=1.0, weights=False, maps=1, reference=True, **description):
    """A dataset whose arrays do not follow from each other; the first of each axis reaches the edge of k-space."""
    y, x = size
    generator = np.random.default_rng(11)
    edge = reach * np.array([x, y])[:, None, None] / 2
    with new_folder(folder, {"name": folder.name, **description}) as temporary:
        for name, count in COUNTS.items():
            different = 1 if shared else count
            positions = np.zeros((different, 3, SPOKES, SAMPLES))
            positions[:, :2] = generator.uniform(-1, 1, size=(different, 2, SPOKES, SAMPLES)) * edge
            positions[:, :2, 0, 0] = edge[:, 0, 0]
            pattern = generator.uniform(size=(different, 1, SPOKES, SAMPLES))
            pattern = pattern if weights else pattern < 0.8
            kspace = random_complex(generator, count, COILS, SPOKES, SAMPLES) * pattern
            arrays = {
                "kspace": from_batch_coil_samples(kspace.astype(np.complex64)),
                "pattern": from_batch_coil_samples(pattern.astype(np.complex64)),
                "trajectory": from_batch_positions(positions.astype(np.complex64)),
                "coils": from_batch_map_coil_yx(random_complex(generator, count, maps, COILS, y, x)),
            }
            if reference:
                arrays["reference"] = from_batch_map_yx(random_complex(generator, count, maps, y, x))
            write_split(temporary / name, arrays)
    return folder


VARIANTS = {
    "one trajectory": {},
    "trajectories that differ": {"shared": False},
    "odd sizes": {"size": (17, 21)},
    "two maps": {"maps": 2},
    "no reference": {"reference": False},
    "far from the edge": {"reach": 0.6},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_ismrmrd_and_back(tmp_path, variant):
    folder = write_spokes(tmp_path / "data", **VARIANTS[variant])
    exported = export("ismrmrd", folder, tmp_path / "raw.mrd")
    again = import_again(exported, "ismrmrd", tmp_path / "raw.mrd", tmp_path / "again")
    assert_same(folder, again)
    for name in COUNTS:
        first, second = (len(Dataset.open(path).split(name).arrays()["trajectory"]) for path in (folder, again))
        assert first == second


def test_the_library_of_the_format_reads_the_same(tmp_path):
    folder = write_spokes(tmp_path / "data", shared=False)
    export("ismrmrd", folder, tmp_path / "raw.mrd")
    splits = [Dataset.open(folder).split(name).arrays() for name in COUNTS]
    kspace, positions = (np.concatenate([arrays[name] for arrays in splits]) for name in ("kspace", "trajectory"))
    with ismrmrd.Dataset(tmp_path / "raw.mrd", mode="r") as data:
        encoding = ismrmrd.xsd.CreateFromDocument(data.read_xml_header()).encoding[0]
        assert encoding.trajectory.value == "other"
        assert (encoding.encodedSpace.matrixSize.x, encoding.encodedSpace.matrixSize.y) == (16, 18)
        assert data.number_of_acquisitions() == sum(COUNTS.values()) * SPOKES
        for number in range(data.number_of_acquisitions()):
            line = data.read_acquisition(number)
            place = line.idx.slice, slice(None), line.idx.kspace_encode_step_1
            np.testing.assert_array_equal(line.data, kspace[place])
            np.testing.assert_array_equal(line.traj.T, positions[place][:2].real)
            assert line.is_flag_set(ismrmrd.ACQ_LAST_IN_SLICE) == (line.idx.kspace_encode_step_1 == SPOKES - 1)


def test_weights_along_a_trajectory_are_in_the_samples_and_come_back(tmp_path):
    folder = write_spokes(tmp_path / "data", weights=True)
    exported = export("ismrmrd", folder, tmp_path / "raw.mrd")
    assert exported.notes == ["samples are multiplied by the weights of the pattern, as in the dataset"]
    arrays = Dataset.open(folder).split("train").arrays()
    with ismrmrd.Dataset(tmp_path / "raw.mrd", mode="r") as data:
        np.testing.assert_array_equal(data.read_acquisition(0).data, arrays["kspace"][0, :, 0])
    assert_same(folder, import_again(exported, "ismrmrd", tmp_path / "raw.mrd", tmp_path / "again"))


def test_simulated_spokes_come_back_with_the_same_psf(toolbox, tmp_path):
    from bart_bridge.data.simulation import Simulation, simulate

    settings = Simulation(size=24, coil_count=2, train=2, validation=1, test=2, pattern="radial", spokes=9)
    simulate(tmp_path / "data", settings, toolbox)
    exported = export("ismrmrd", tmp_path / "data", tmp_path / "raw.mrd")
    again = import_again(exported, "ismrmrd", tmp_path / "raw.mrd", tmp_path / "again")
    splits = [Dataset.open(folder).split("test") for folder in (tmp_path / "data", again)]
    first, second = (split.arrays() for split in splits)
    for name in ("kspace", "trajectory", "coils", "reference"):
        np.testing.assert_array_equal(second[name], first[name])
    for one, other in zip(*(compute(split, toolbox) for split in splits), strict=True):
        np.testing.assert_array_equal(np.broadcast_to(one, other.shape), other)
    rows = dict(inspect(tmp_path / "raw.mrd").table())
    assert rows["trajectory"].startswith("9 spokes of 24 samples up to ")
    assert rows["coil sensitivities"] == "in the file"


def test_the_program_for_odd_sizes_is_said(tmp_path):
    folder = write_spokes(tmp_path / "data", nufft="finufft")
    exported = export("ismrmrd", folder, tmp_path / "raw.mrd")
    assert exported.notes == ["write 'nufft: finufft' into the dataset.yaml of an import, as it is here"]


def test_splits_of_two_kinds(tmp_path):
    folder = write_spokes(tmp_path / "data")
    write_dataset(tmp_path / "lines", coils=COILS)
    (folder / "test").rename(tmp_path / "old")
    (tmp_path / "lines/test").rename(folder / "test")
    with pytest.raises(InputError, match="of the splits train and validation and test only some have"):
        export("ismrmrd", folder, tmp_path / "raw.mrd")


def test_fastmri_has_no_place_for_a_trajectory(tmp_path):
    folder = write_spokes(tmp_path / "data")
    with pytest.raises(
        InputError, match="trajectory: fastMRI has no place for a trajectory; ismrmrd has one, or export the images"
    ):
        export("fastmri", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_of_spokes_without_some_of_them_is_refused(tmp_path):
    folder = write_spokes(tmp_path / "data")
    export("ismrmrd", folder, tmp_path / "raw.mrd")
    with h5py.File(tmp_path / "raw.mrd", "r+") as file:
        lines = file["dataset/data"][1:]
        del file["dataset/data"]
        file.create_dataset("dataset/data", data=lines, dtype=ismrmrd.hdf5.acquisition_dtype)
    with pytest.raises(InputError, match=r"'bart_tf/pattern' must be an array of shape \(6, 6, 24\)"):
        import_again(
            export("ismrmrd", folder, tmp_path / "other.mrd"), "ismrmrd", tmp_path / "raw.mrd", tmp_path / "again"
        )
