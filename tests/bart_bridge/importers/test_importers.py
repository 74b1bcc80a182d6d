"""What each importer knows of its format, beyond what `tests/tf_models/training/test_imported_data.py` reconstructs."""

import h5py
import numpy as np
import pytest
import yaml

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.importers import open_source
from bart_bridge.importers.pattern_choice import PatternChoice
from bart_bridge.importers.selection import parse_split
from bart_bridge.importers.varnet_mat import published_lines
from tests import foreign
from tests.helper import relative_difference


def arrays_of(folder, split="test"):
    opened = Dataset.open(folder).split(split)
    opened.validate()
    return opened.arrays()


# VarNet


def test_published_knee_split_and_slices(tmp_path):
    for subject in range(1, 21):
        (tmp_path / str(subject)).mkdir()
        for number in range(1, 36):
            (tmp_path / str(subject) / f"rawdata{number}.mat").touch()
    splits = open_source("varnet-mat", tmp_path).split({}, None)
    assert {name: len(entries) for name, entries in splits.items()} == {"train": 300, "validation": 20, "test": 100}
    assert [splits["train"][item].name for item in (0, 19, 20, 299)] == [
        "1/rawdata11.mat",
        "1/rawdata30.mat",
        "2/rawdata11.mat",
        "15/rawdata30.mat",
    ]
    assert splits["test"][0].name == "16/rawdata11.mat"


def test_published_knee_pattern(toolbox):
    """Every fourth of 368 lines, cut and joined with fully sampled edges and centre by BART's own tools."""
    comb = np.tile(np.array([1, 0, 0, 0], np.complex64), 92)[None]
    edge, centre = (np.ones((1, size), np.complex64) for size in (19, 28))
    left, right = (toolbox.compute("extract", 1, first, last, comb) for first, last in ((19, 170), (198, 349)))
    expected = toolbox.compute("join", 1, edge, left, centre, right, edge)
    np.testing.assert_array_equal(published_lines(), expected.ravel() == 1)


def test_padded_edges_of_knee_data_count_as_sampled(truth, tmp_path):
    path = foreign.write_varnet(truth, tmp_path / "knee", subjects=[1], pad=(3, 5))
    folder = foreign.import_to(tmp_path / "data", "varnet-mat", path, {"test": "1"}, slices="1")
    expected = foreign.regular_lines()
    expected[:3], expected[-5:] = True, True
    np.testing.assert_array_equal(arrays_of(folder)["pattern"][0, 0], np.repeat(expected[:, None], foreign.X, axis=1))


def test_subjects_and_slices_of_knee_data_are_chosen_by_their_number(truth, tmp_path):
    path = foreign.write_varnet(truth, tmp_path / "knee", subjects=[2, 7])
    folder = foreign.import_to(tmp_path / "data", "varnet-mat", path, {"train": "7", "test": "2"}, slices="0-2/2")
    assert relative_difference(arrays_of(folder, "train")["reference"][:, 0], truth.images[::2]) < 1e-5
    description = yaml.safe_load((folder / "dataset.yaml").read_text())
    assert description["slices"] == {
        "train": ["7/rawdata1.mat", "7/rawdata3.mat"],
        "test": ["2/rawdata1.mat", "2/rawdata3.mat"],
    }
    assert description["import"]["path"] == str(path)


def test_a_missing_subject_is_named(truth, tmp_path):
    path = foreign.write_varnet(truth, tmp_path / "knee", subjects=[1, 2])
    with pytest.raises(InputError, match=r"--split 1-15: there is no '3' \(found: 1, 2\)"):
        open_source("varnet-mat", path).split({"train": "1-15"}, None)


# MoDL


def test_published_brain_split(tmp_path):
    with h5py.File(tmp_path / "dataset.hdf5", "w") as file:
        for prefix, count in (("trn", 360), ("tst", 164)):
            file.create_dataset(f"{prefix}Org", (count, 4, 3), np.complex64)
            file.create_dataset(f"{prefix}Csm", (count, 3, 4, 3), np.complex64)
            file.create_dataset(f"{prefix}Mask", (count, 4, 3), np.int8)
    splits = open_source("modl-hdf5", tmp_path / "dataset.hdf5").split({}, None)
    assert {name: len(entries) for name, entries in splits.items()} == {"train": 360, "validation": 10, "test": 164}
    assert [entry.name for entry in splits["validation"]][:2] == ["tst50", "tst58"]


def test_noise_is_added_to_sampled_points_with_its_standard_deviation(truth, tmp_path):
    path = foreign.write_modl(truth, tmp_path / "dataset.hdf5")
    split = {"train": "trn0-2", "test": "tst0-2"}
    folder = foreign.import_to(tmp_path / "data", "modl-hdf5", path, split, noise=0.2, seed=4)
    again = foreign.import_to(tmp_path / "again", "modl-hdf5", path, split, noise=0.2, seed=4)
    arrays = arrays_of(folder)
    noise = arrays["kspace"] - arrays["pattern"] * truth.kspace
    sampled = np.broadcast_to(arrays["pattern"] != 0, noise.shape)
    assert not noise[~sampled].any()
    assert abs(np.mean(np.abs(noise[sampled]) ** 2) / 0.2**2 - 1) < 0.05
    assert abs(np.mean(noise[sampled].real ** 2) / 0.2**2 - 0.5) < 0.05
    np.testing.assert_array_equal(arrays["kspace"], arrays_of(again)["kspace"])
    assert np.any(arrays["kspace"] != arrays_of(folder, "train")["kspace"])


# fastMRI


def test_the_image_is_that_of_fastmris_own_reconstruction(truth, coils, tmp_path):
    """Root sum of squares of the imported k-space, cropped as fastMRI does, against `reconstruction_rss`."""
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    kspace = arrays_of(foreign.import_to(tmp_path / "data", "fastmri", path, coils=coils))["kspace"]
    images = foreign.dft(kspace.conj()).conj()
    rss = np.sqrt(np.sum(np.abs(images) ** 2, axis=1))[:, foreign.Y // 2 - foreign.X // 2 :][:, : foreign.X]
    with h5py.File(path) as file:
        assert relative_difference(rss.transpose(0, 2, 1), file["reconstruction_rss"]) < 1e-5


def test_volumes_of_a_folder_are_split_as_a_whole(truth, coils, tmp_path):
    (tmp_path / "volumes").mkdir()
    for name in "cab":
        foreign.write_fastmri(truth, tmp_path / f"volumes/{name}.h5")
    split = {"train": "0,2", "test": "1"}
    folder = foreign.import_to(tmp_path / "data", "fastmri", tmp_path / "volumes", split, coils=coils, slices="1-2")
    names = yaml.safe_load((folder / "dataset.yaml").read_text())["slices"]
    assert names == {"train": ["a.h5/1", "a.h5/2", "c.h5/1", "c.h5/2"], "test": ["b.h5/1", "b.h5/2"]}
    assert relative_difference(arrays_of(folder)["reference"][:, 0], truth.images[1:]) < 1e-5


def test_undersampled_volumes_keep_their_mask(truth, coils, tmp_path):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5", undersampled=True)
    with pytest.raises(InputError, match="regular needs fully sampled k-space"):
        foreign.import_to(tmp_path / "data", "fastmri", path, coils=coils, pattern=PatternChoice("regular"))
    assert not (tmp_path / "data").exists()


# ISMRMRD


def test_repetitions_are_refused_or_averaged(truth, coils, tmp_path):
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5", repetitions=2)
    with pytest.raises(
        InputError, match=r"it has 2 repetitions \(0, 1\); choose one, such as --repetition 0, or --repetition average"
    ):
        open_source("ismrmrd", path)
    folder = foreign.import_to(tmp_path / "data", "ismrmrd", path, coils=coils, repetition="average")
    assert relative_difference(arrays_of(folder)["reference"][:, 0], truth.images) < 1e-5


def test_partial_phase_encoding_is_not_fully_sampled(truth, coils, tmp_path):
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5", lines=range(10, foreign.Y))
    arrays = arrays_of(foreign.import_to(tmp_path / "data", "ismrmrd", path, coils=coils))
    assert "reference" not in arrays
    np.testing.assert_array_equal(arrays["pattern"][0, 0, :, 0], np.arange(foreign.Y) >= 10)


def test_partial_echo_without_oversampling_is_placed_by_its_centre(truth, coils, tmp_path):
    import ismrmrd

    path = tmp_path / "raw.h5"
    with ismrmrd.Dataset(str(path), "dataset") as data:
        data.write_xml_header(foreign.header(readout=foreign.X, view=1.0).encode())
        for y in range(foreign.Y):
            line = foreign.acquisition(truth.kspace[0, :, y, 4:])
            line.center_sample, line.discard_pre, line.idx.kspace_encode_step_1 = foreign.X // 2 - 4, 2, y
            data.append_acquisition(line)
    arrays = arrays_of(foreign.import_to(tmp_path / "data", "ismrmrd", path, coils=coils))
    np.testing.assert_array_equal(arrays["pattern"][0, 0, 0], np.arange(foreign.X) >= 6)
    np.testing.assert_array_equal(arrays["kspace"][0], truth.kspace[0] * arrays["pattern"][0])


# Splits


@pytest.mark.parametrize(
    ("split", "slices", "message"),
    [
        ({"tain": "0"}, None, "must name one of train, validation, test, received 'tain'"),
        ({"tain": "99"}, None, "must name one of train, validation, test, received 'tain'"),
        ({"train": "0-1", "test": "1-2"}, None, "'1' is in train and in test"),
        ({"test": "3"}, None, r"there is no '3' \(found: 0, 1, 2\)"),
        ({"test": "2-1"}, None, "ranges that rise"),
        ({"test": "0-"}, None, "must be numbers and ranges"),
        ({"test": "0/0"}, None, "must be numbers and ranges"),
        ({"test": "0-999999999"}, None, "there is no '3'"),
        ({"test": "0"}, "5", "kspace: '0': --slices 5: there is no '5'"),
    ],
)
def test_selections_that_cannot_be(truth, tmp_path, split, slices, message):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    with pytest.raises(InputError, match=message):
        open_source("cfl", path).split(split, slices)


@pytest.mark.parametrize("words", [["train"], ["train="], ["=1"], ["test=1", "test=2"]])
def test_split_words_of_another_form(words):
    with pytest.raises(InputError, match="must be NAME=SELECTION, once for each split"):
        parse_split(words)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("nifti", {}, "KIND must be one of varnet-mat, .*, received 'nifti'"),
        ("cfl", {"noise": 0.1}, "--noise belongs to modl-hdf5"),
        ("cfl", {"repetition": "0"}, "--repetition belongs to m4raw, ismrmrd"),
        ("cfl", {"phase": "0"}, "--phase belongs to ismrmrd"),
        ("modl-hdf5", {"noise": -1.0}, "--noise must not be negative"),
    ],
)
def test_options_of_another_kind(tmp_path, kind, options, message):
    with pytest.raises(InputError, match=message):
        open_source(kind, tmp_path, **options)
