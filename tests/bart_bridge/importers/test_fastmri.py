"""fastMRI as it is found: folders of several sizes, test files, prostate data; and its relatives M4Raw and SKM-TEA."""

import h5py
import numpy as np
import pytest
import yaml

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.importers import open_source, open_sources
from bart_bridge.importers.partial_fourier import one_sided_gaps
from bart_bridge.importers.pattern_choice import PatternChoice
from bart_bridge.inspection import inspect
from tests import foreign, foreign_fastmri, foreign_raw
from tests.foreign import COILS, SLICES, X, Y
from tests.helper import relative_difference


def arrays_of(folder, split="test"):
    opened = Dataset.open(folder).split(split)
    opened.validate()
    return opened.arrays()


def description_of(folder):
    return yaml.safe_load((folder / "dataset.yaml").read_text())["import"]


# Folders of several sizes


def test_files_of_several_sizes_are_listed_and_chosen(truth, coils, tmp_path):
    path = foreign_fastmri.write_volumes(truth, tmp_path / "brain")
    with pytest.raises(InputError) as caught:
        open_source("fastmri", path)
    listed = "size=64x36,coils=4 (2 files); size=64x32,coils=4 (1 file); size=64x36,coils=3 (1 file); choose"
    assert listed in str(caught.value)
    folder = foreign.import_to(tmp_path / "data", "fastmri", path, coils=coils, match="size=64x36,coils=4")
    assert arrays_of(folder)["kspace"].shape == (2 * SLICES, COILS, Y, X)
    description = description_of(folder)
    assert description["files"] == ["file_brain_00.h5", "file_brain_01.h5"]
    assert description["acquisition"] == {"AXFLAIR": 1, "AXT1": 1}
    assert description["left_out"]["files that --match does not take"] == 2
    single = open_source("fastmri", path, match="size=64x36,coils=4,acquisition=AXT1")
    assert single.description["files"] == ["file_brain_01.h5"]


def test_one_source_for_each_size(truth, tmp_path):
    path = foreign_fastmri.write_volumes(truth, tmp_path / "brain")
    sources = open_sources("fastmri", path, match="each")
    assert {name: len(source.units) for name, source in sources.items()} == {
        "64x36-4-coils": 2,
        "64x32-4-coils": 1,
        "64x36-3-coils": 1,
    }
    files = [file for source in sources.values() for file in source.description["files"]]
    assert sorted(files) == sorted(file.name for file in path.iterdir())
    with pytest.raises(InputError, match="--match each needs a folder"):
        open_sources("fastmri", path / files[0], match="each")


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("size=1x1", r"no file matches --match size=1x1 \(found: size=64x36,coils=4 \(2 files\)"),
        ("size", r"--match must be facts such as .* \(size, coils, acquisition\), received 'size'"),
        ("size=", "received 'size='"),
        ("field=3", "received 'field=3'"),
        ("coils=4,coils=3", "received 'coils=3'"),
        ("", "received ''"),
        ("coils=4", "the slices of a dataset need one size and number of coils, found size=64x36,coils=4 "),
    ],
)
def test_a_match_that_cannot_be(truth, tmp_path, match, message):
    path = foreign_fastmri.write_volumes(truth, tmp_path / "brain")
    with pytest.raises(InputError, match=message):
        open_source("fastmri", path, match=match)


def test_a_match_is_for_folders(truth, tmp_path):
    for kind, path in (
        ("fastmri", foreign.write_fastmri(truth, tmp_path / "file.h5")),
        ("m4raw", foreign_fastmri.write_m4raw(truth, tmp_path / "m4raw") / "2022061003_T101.h5"),
    ):
        with pytest.raises(InputError, match="of a folder, this is a file"):
            open_source(kind, path, match="coils=4")


# Test files


@pytest.mark.parametrize("shape", [(Y,), (1, 1, 1, Y, 1)])
def test_acceleration_and_mask_of_a_test_file(truth, coils, tmp_path, shape):
    """Some conversions store the mask with axes of size 1."""
    path = foreign.write_fastmri(truth, tmp_path / "file.h5", undersampled=True)
    with h5py.File(path, "r+") as file:
        del file["mask"]
        file["mask"] = foreign.regular_lines().reshape(shape).astype(np.float32)
        file.attrs["acceleration"] = 4
    folder = foreign.import_to(tmp_path / "data", "fastmri", path, coils=coils)
    np.testing.assert_array_equal(arrays_of(folder)["pattern"][0, 0, :, 0], foreign.regular_lines())
    assert description_of(folder)["acceleration"] == {"4": 1}


@pytest.mark.parametrize(("first", "measured"), [(8, 28), (1, 36)])
def test_a_mask_does_not_sample_the_missing_side_of_partial_fourier(truth, tmp_path, first, measured):
    """One line less at one side is zero-padding, and counts as sampled if the mask says so."""
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        file["kspace"][..., :first] = 0
        file["mask"] = np.ones(Y, np.float32)
    item = open_source("fastmri", path).units["0"][0].load()
    assert np.count_nonzero(item.pattern[:, 0]) == measured
    notes = one_sided_gaps(item.pattern, item.axes)
    expected = ["partial Fourier along the phase encoding: the first 8 of 36 were not measured"]
    assert notes == (expected if first == 8 else [])


def test_attributes_of_any_type(truth, tmp_path):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["acquisition"] = np.arange(3)
        file.attrs["acceleration"] = np.float64(4)
    assert open_source("fastmri", path).description["acquisition"] == {"[0 1 2]": 1}
    assert open_source("fastmri", path).description["acceleration"] == {"4": 1}


# Prostate


def test_an_average_of_prostate_data_is_undersampled(truth, coils, tmp_path):
    path = foreign_fastmri.write_prostate(truth, tmp_path / "file.h5")
    folder = foreign.import_to(tmp_path / "data", "fastmri", path, coils=coils, average="1")
    arrays = arrays_of(folder)
    assert "reference" not in arrays
    lines = arrays["pattern"][0, 0, :, 0] != 0
    np.testing.assert_array_equal(lines, np.arange(Y) % 2 == 0)
    assert relative_difference(arrays["kspace"][:, :, lines], truth.kspace[:, :, lines]) < 1e-5


def test_calibration_lines_of_prostate_data_feed_ecalib(truth, toolbox, tmp_path):
    path = foreign_fastmri.write_prostate(truth, tmp_path / "file.h5", calibration=24)
    options = {"split": {"test": "0"}, "toolbox": toolbox}
    folder = foreign.import_to(tmp_path / "data", "fastmri", path, average="1", coils="ecalib -r 20", **options)
    inside = np.abs(truth.images[0]) > 0.2 * np.abs(truth.images[0]).max()
    found, expected = arrays_of(folder)["coils"][0, 0][:, inside], truth.coils[:, inside]
    # Maps are unique up to a phase in each pixel.
    assert relative_difference(np.abs(np.sum(found.conj() * expected, axis=0)), np.ones(inside.sum())) < 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase_correction": np.zeros(3)}, "prostate diffusion data of fastMRI are echo-planar"),
        (
            {"kspace": np.zeros((8, 4, 16, 9, 2), np.float32)},
            "breast data of fastMRI are a golden-angle stack of stars; import them as fastmri-breast",
        ),
        (
            {"kspace": np.zeros((3, 8, 8), np.complex64), "reconstruction_esc": np.zeros(3)},
            "single-coil data of fastMRI",
        ),
        ({"kspace": np.zeros((3, 0, 8, 8), np.complex64)}, "'kspace' must not be empty"),
        ({"calibration_data": np.zeros((3, 4, 64, 37), np.complex64)}, "'calibration_data' must have shape"),
    ],
)
def test_relatives_are_refused_by_name(truth, tmp_path, change, message):
    path = foreign_fastmri.write_prostate(truth, tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        for name, values in change.items():
            if name in file:
                del file[name]
            file[name] = values
    with pytest.raises(InputError, match=message):
        open_source("fastmri", path)


def test_averages_are_for_prostate_data(truth, tmp_path):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    with pytest.raises(InputError, match="--average needs k-space with averages"):
        open_source("fastmri", path, average="0")


# Breast


def test_breast_data_are_spokes_of_stacked_slices(truth, tmp_path):
    source = open_source("fastmri-breast", foreign_fastmri.write_breast(truth, tmp_path / "file.h5"))
    assert len(source.units) == 4
    square = slice((Y - X) // 2, (Y - X) // 2 + X)
    for number, image in enumerate(truth.images):
        item = source.units[str(number)][0].load()
        expected = foreign_raw.sampled((truth.coils * image)[:, square], item.trajectory.astype(float))
        assert item.pixels == (X, X)
        assert relative_difference(item.kspace, expected) < 1e-4
    assert np.abs(source.units["3"][0].load().kspace).max() < 1e-5


def test_the_trajectory_is_the_one_of_the_authors(truth, tmp_path):
    """Their coordinates are rows and columns of the image: cosine along y, sine along x."""
    source = open_source("fastmri-breast", foreign_fastmri.write_breast(truth, tmp_path / "file.h5"))
    trajectory = source.units["0"][0].load().trajectory
    np.testing.assert_allclose(trajectory[:, 0, [0, X, 2 * X - 1]], [[0, 0, 0], [-X / 2, 0, X / 2 - 0.5], [0, 0, 0]])
    angle = np.rad2deg(np.arctan2(trajectory[0, 1, -1], trajectory[1, 1, -1]))
    assert angle == pytest.approx(111.246, abs=1e-3)


def test_partitions_are_zero_filled_around_their_centre(truth, tmp_path):
    """Three of four partitions: what is imported is the truth without the highest partition."""
    path = foreign_fastmri.write_breast(truth, tmp_path / "file.h5", partitions=3)
    whole = foreign_fastmri.write_breast(truth, tmp_path / "whole.h5")
    cut, complete = (
        np.stack([entry[0].load().kspace for entry in open_source("fastmri-breast", file).units.values()])
        for file in (path, whole)
    )
    spectrum = foreign.dft(complete.conj(), axes=(0,)).conj()
    spectrum[3] = 0
    assert relative_difference(cut, foreign.dft(spectrum, axes=(0,))) < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.move("kspace", "data"), "'kspace' must have dimensions part"),
        (lambda file: file["kspace"].attrs.modify("imagesPerSlab", "x"), "'imagesPerSlab' must be a number, found 'x'"),
        (lambda file: file["kspace"].attrs.modify("imagesPerSlab", "3"), "4 partitions with the centre 3 do not fit"),
        (lambda file: file["kspace"].attrs.modify("centerPartition", "9"), "with the centre 9 do not fit into 4"),
    ],
)
def test_breast_data_of_another_form(truth, tmp_path, change, message):
    path = foreign_fastmri.write_breast(truth, tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=message):
        open_source("fastmri-breast", path)


# M4Raw


def test_repetitions_are_chosen_or_averaged(truth, coils, tmp_path):
    path = foreign_fastmri.write_m4raw(truth, tmp_path / "m4raw")
    with pytest.raises(InputError, match="it has 2 repetitions \\(1, 2\\); choose one"):
        open_source("m4raw", path)
    one = foreign.import_to(tmp_path / "one", "m4raw", path, coils=coils, repetition="2")
    mean = foreign.import_to(tmp_path / "mean", "m4raw", path, coils=coils, repetition="average")
    expected = np.concatenate([truth.kspace] * 2)
    assert relative_difference(arrays_of(one)["kspace"], expected + 0.5) < 1e-6
    assert relative_difference(arrays_of(mean)["kspace"], expected) < 1e-6
    assert description_of(one)["left_out"] == {"repetitions of these scans": 2}
    assert description_of(one)["scans"] == ["2022061003_FLAIR", "2022061003_T1"]


def test_scans_are_chosen_by_contrast(truth, tmp_path):
    path = foreign_fastmri.write_m4raw(truth, tmp_path / "m4raw")
    (path / "notes.txt").touch()
    source = open_source("m4raw", path, repetition="1", match="contrast=T1")
    assert source.description["scans"] == ["2022061003_T1"]
    assert source.left_out["scans that --match does not take"] == 1
    assert source.left_out["files that are not named as those of M4Raw"] == 1


@pytest.mark.parametrize(
    ("edges", "complete"),
    [((3, 3), True), ((4, 2), True), ((5, 2), True), ((6, 2), False), ((2, 5), False), ((0, 8), False)],
)
def test_zero_padded_edges_of_m4raw(truth, coils, tmp_path, edges, complete):
    """The published lines reach from -98 to 96."""
    path = foreign_fastmri.write_m4raw(truth, tmp_path / "m4raw", ["T1"], repetitions=1, edges=edges)
    choice = PatternChoice("regular", 2, 8)
    if complete:
        foreign.import_to(tmp_path / "data", "m4raw", path / "2022061003_T101.h5", coils=coils, pattern=choice)
        assert "reference" in arrays_of(tmp_path / "data")
    else:
        with pytest.raises(InputError, match="needs fully sampled k-space"):
            foreign.import_to(tmp_path / "data", "m4raw", path, coils=coils, pattern=choice)


def test_repetitions_of_several_sizes(truth, tmp_path):
    path = foreign_fastmri.write_m4raw(truth, tmp_path / "m4raw")
    with h5py.File(path / "2022061003_T102.h5", "r+") as file:
        values = file["kspace"][1:]
        del file["kspace"]
        file["kspace"] = values
    with pytest.raises(InputError, match=r"T102.h5: the repetitions of a scan must be alike, found \(2, 4, 32, 36\)"):
        open_source("m4raw", path, repetition="average")


def test_files_with_other_names(truth, tmp_path):
    foreign.write_fastmri(truth, tmp_path / "file.h5")
    for path in (tmp_path, tmp_path / "file.h5"):
        with pytest.raises(InputError, match=r"files of M4Raw .* such as 2022061003_T201.h5"):
            open_source("m4raw", path)


# SKM-TEA


def test_an_echo_is_required(truth, tmp_path):
    path = foreign_fastmri.write_skm_tea(truth, tmp_path / "MTR_001.h5")
    with pytest.raises(InputError, match=r"it has 2 contrasts \(0, 1\); choose one, such as --contrast 0"):
        open_source("skm-tea", path)


def test_the_reference_is_the_target_and_masks_are_left_out(truth, tmp_path):
    foreign_fastmri.write_skm_tea(truth, tmp_path / "MTR_001.h5", echo=0)
    folder = foreign.import_to(tmp_path / "data", "skm-tea", tmp_path, contrast="0")
    arrays = arrays_of(folder)
    np.testing.assert_array_equal(arrays["reference"][:, 0], truth.images)
    assert np.all(arrays["pattern"] == 1)
    assert description_of(folder)["left_out"] == {"masks of the authors": 1}


def test_patterns_do_not_sample_the_padded_edges_of_skm_tea(truth, tmp_path):
    path = foreign_fastmri.write_skm_tea(truth, tmp_path / "MTR_001.h5", echo=0)
    with h5py.File(path, "r+") as file:
        file["kspace"][:, :, :4] = 0
    choice = PatternChoice("regular", 2, 8)
    folder = foreign.import_to(tmp_path / "data", "skm-tea", path, contrast="0", pattern=choice)
    pattern = arrays_of(folder)["pattern"][0, 0]
    assert not pattern[:, :4].any()
    assert pattern[:, 4:].any()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("kspace", np.ones((3, 36, 32, 2), np.complex64), "'kspace' must have dimensions x, ky, kz, echo and coil"),
        ("maps", np.ones((3, 36, 32, 5, 1), np.complex64), r"'maps' must have shape \(3, 36, 32, 4\) and maps"),
        ("target", np.ones((3, 36, 32, 1, 1), np.complex64), r"'target' must have shape \(3, 36, 32, 2, 1\)"),
        ("target", None, "no array 'target' in it"),
    ],
)
def test_skm_tea_of_another_form(truth, tmp_path, name, values, message):
    path = foreign_fastmri.write_skm_tea(truth, tmp_path / "MTR_001.h5")
    with h5py.File(path, "r+") as file:
        del file[name]
        if values is not None:
            file[name] = values
    with pytest.raises(InputError, match=message):
        open_source("skm-tea", path, contrast="0")


def test_more_averages_than_any_scan_has_are_refused(truth, tmp_path):
    path = foreign_fastmri.write_prostate(truth, tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        shape = (2**31, *file["kspace"].shape[1:])
        del file["kspace"]
        file.create_dataset("kspace", shape, np.complex64, chunks=(1, 1, 1, 8, 8))
    with pytest.raises(InputError, match="can have 131072 averages at most, found 2147483648"):
        open_source("fastmri", path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("reference", 1, "the reference must show something, it is the same everywhere"),
        ("coil_sensitivities", 0, "'coils' must not be zero everywhere"),
    ],
)
def test_an_export_that_was_changed_does_not_become_an_invalid_dataset(truth, tmp_path, name, value, message):
    folder = foreign_fastmri.write_exported(truth, tmp_path, "fastmri")
    with h5py.File(folder / "test.h5", "r+") as file:
        file["bart_tf"][name][...] = value
    with pytest.raises(InputError, match=message):
        foreign.import_to(tmp_path / "data", "fastmri", folder)


def test_coils_with_a_signal_have_sensitivities(truth, tmp_path):
    """One coil has all signal, and the others have all sensitivities."""
    folder = foreign_fastmri.write_exported(truth, tmp_path, "fastmri")
    with h5py.File(folder / "test.h5", "r+") as file:
        file["kspace"][:, 1:] = 0
        file["bart_tf/coil_sensitivities"][:, :, 0] = 0
    with pytest.raises(InputError, match="the coils with a signal must have sensitivities"):
        foreign.import_to(tmp_path / "data", "fastmri", folder)


def test_a_pattern_of_very_large_values_is_imported(truth, tmp_path):
    """The stored k-space is a product with the pattern; a second one would overflow."""
    folder = foreign_fastmri.write_exported(truth, tmp_path, "fastmri")
    with h5py.File(folder / "test.h5", "r+") as file:
        file["bart_tf/pattern"][...] = 1e30
    dataset = foreign.import_to(tmp_path / "data", "fastmri", folder)
    Dataset.open(dataset).split("test").validate()


def test_spokes_of_breast_data_too_long_for_memory_are_refused(truth, tmp_path):
    path = foreign_fastmri.write_breast(truth, tmp_path / "file.h5", spokes=4)
    with h5py.File(path, "r+") as file:
        parts, spokes, _, *rest = file["kspace"].shape
        del file["kspace"]
        file.create_dataset("kspace", (parts, spokes, 2**20, *rest), np.float32, chunks=(1, 1, 8, 1, 1))
    with pytest.raises(InputError, match="a spoke of all partitions can need 512 MiB for a slice at most"):
        open_source("fastmri-breast", path)


def volumes_in(folder, truth, names):
    folder.mkdir(parents=True)
    for name in names:
        foreign.write_fastmri(truth, folder / name)


def test_folders_of_a_download_become_splits(truth, tmp_path):
    volumes_in(tmp_path / "multicoil_train", truth, ["b.h5", "a.h5"])
    volumes_in(tmp_path / "multicoil_val", truth, ["a.h5", "c.h5", "d.h5"])
    (tmp_path / "notes").mkdir()
    rows = dict(inspect(tmp_path).table())
    assert rows["format"] == "fastMRI, a folder for each split"
    assert rows["import"] == f"bart-tf import fastmri {tmp_path} FOLDER"
    source = open_source("fastmri", tmp_path)
    assert list(source.units) == ["train0", "train1", "val0", "val1", "val2"]
    splits = {
        name: sorted({entry.name.rpartition("/")[0] for entry in entries})
        for name, entries in source.split({}, None).items()
    }
    assert {name: len(files) for name, files in splits.items()} == {"train": 2, "validation": 3}
    assert set(source.description["files"]) >= {"multicoil_train/a.h5", "multicoil_val/a.h5"}
    chosen = source.split({"train": "train0", "validation": "val0", "test": "val1-2"}, None)
    assert {name: len(entries) // foreign.SLICES for name, entries in chosen.items()} == {
        "train": 1,
        "validation": 1,
        "test": 2,
    }


def test_two_folders_of_one_split_are_refused(truth, tmp_path):
    for name in ("knee_train", "brain_train"):
        volumes_in(tmp_path / name, truth, ["a.h5"])
    with pytest.raises(InputError, match=r"one folder of the split 'train' is needed, found brain_train, knee_train$"):
        open_source("fastmri", tmp_path)
