"""What each importer knows of its format, beyond what `tests/tf_models/training/test_imported_data.py` reconstructs."""

import h5py
import numpy as np
import pytest
import yaml

from bart_bridge.data.dataset import Dataset
from bart_bridge.data.fourier import centred_ifft
from bart_bridge.errors import InputError, ToolError
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.importers import open_source
from bart_bridge.importers.pattern_choice import PatternChoice
from bart_bridge.importers.selection import parse_split
from bart_bridge.importers.source import fully_sampled
from bart_bridge.importers.varnet_mat import published_lines
from tests import foreign
from tests.helper import random_complex, relative_difference


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


# Patterns


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (np.ones(12), True),
        ([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0], True),
        ([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], True),
        ([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], False),
        ([1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], False),
        (np.zeros(12), False),
    ],
)
def test_fully_sampled_but_for_edges_of_equal_width(lines, expected):
    measured = np.repeat(np.asarray(lines, bool)[:, None], 4, axis=1)
    assert fully_sampled(measured) is expected
    assert fully_sampled(measured.T) is expected


def test_random_patterns_differ_between_slices_and_follow_the_seed(truth, coils, tmp_path):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    found = []
    for number, seed in enumerate((1, 1, 2)):
        choice = PatternChoice("random", 4, 6, seed)
        folder = foreign.import_to(tmp_path / f"data{number}", "cfl", path, coils=coils, pattern=choice)
        arrays = arrays_of(folder)
        np.testing.assert_array_equal(arrays["kspace"], truth.kspace * arrays["pattern"])
        found.append(arrays["pattern"][:, 0].real)
    first, again, other = found
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert np.any(first[0] != first[1])
    assert [pattern.sum() for pattern in first] == [round(foreign.X * foreign.Y / 4)] * foreign.SLICES


@pytest.mark.parametrize("count", [1, foreign.SLICES])
def test_pattern_from_a_bart_file(truth, coils, tmp_path, count):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    patterns = np.random.default_rng(0).integers(0, 2, size=(count, 1, foreign.Y, foreign.X)).astype(np.complex64)
    cfl.write(tmp_path / "pattern", from_batch_coil_yx(patterns))
    choice = PatternChoice(str(tmp_path / "pattern"))
    arrays = arrays_of(foreign.import_to(tmp_path / "data", "cfl", path, coils=coils, pattern=choice))
    expected = np.broadcast_to(patterns, arrays["pattern"].shape)
    np.testing.assert_array_equal(arrays["pattern"], expected)
    np.testing.assert_array_equal(arrays["kspace"], truth.kspace * expected)


def test_pattern_from_a_matlab_file(truth, coils, tmp_path):
    """A mask of the oversampled readout fits if it is constant along it."""
    from scipy.io import savemat

    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    lines = np.arange(foreign.Y) % 3 != 1
    savemat(tmp_path / "mask.mat", {"mask": np.broadcast_to(lines, (2 * foreign.X, foreign.Y)).astype(float)})
    choice = PatternChoice(str(tmp_path / "mask.mat"))
    arrays = arrays_of(foreign.import_to(tmp_path / "data", "fastmri", path, coils=coils, pattern=choice))
    np.testing.assert_array_equal(arrays["pattern"][0, 0], np.repeat(lines[:, None], foreign.X, axis=1))


def test_a_pattern_cannot_sample_what_was_not_measured(truth, coils, tmp_path):
    path = tmp_path / "kspace"
    cfl.write(path, from_batch_coil_yx(truth.kspace * foreign.regular_lines()[:, None]))
    cfl.write(tmp_path / "pattern", np.ones((foreign.X, foreign.Y)))
    choice = PatternChoice(str(tmp_path / "pattern"))
    with pytest.raises(InputError, match=r"samples \d+ positions not measured"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=coils, pattern=choice)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (np.ones((foreign.X, foreign.Y + 1)), "must be 32 x 36, found 32 x 37"),
        (np.zeros((foreign.X, foreign.Y)), "sample something"),
        (np.full((foreign.X, foreign.Y), np.nan), "must be finite"),
        (np.ones((foreign.X, foreign.Y, 1, 2)), "must have one coil, found 2"),
        (np.ones((foreign.X, foreign.Y, *(1,) * 13, 2)), "1 pattern or one for each of 3 slices is needed, found 2"),
    ],
)
def test_a_pattern_that_does_not_fit(truth, coils, tmp_path, pattern, message):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    cfl.write(tmp_path / "pattern", pattern)
    choice = PatternChoice(str(tmp_path / "pattern"))
    with pytest.raises(InputError, match=message):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=coils, pattern=choice)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("values", [{"acceleration": 0.5}, {"reference_size": -1}, {"seed": -1}])
def test_pattern_options_out_of_range(values):
    with pytest.raises(InputError, match=f"--{next(iter(values)).replace('_', '-')} must"):
        PatternChoice(**values)


# Coil sensitivities


@pytest.mark.parametrize(
    ("undersampled", "message"), [(0, "kspace/1 has a reference"), (1, "kspace/1 has no reference")]
)
def test_slices_with_and_without_a_reference(truth, tmp_path, undersampled, message):
    kspace = truth.kspace.copy()
    kspace[undersampled, :, ::2] = 0
    cfl.write(tmp_path / "kspace", from_batch_coil_yx(kspace))
    coils = foreign.write_coils(truth, tmp_path / "coils")
    with pytest.raises(
        InputError, match=f"{message}, others have .*: fully sampled slices need a dataset of their own"
    ):
        foreign.import_to(tmp_path / "data", "cfl", tmp_path / "kspace", coils=str(coils))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (slice(16, 20), "at least 6 x 6 samples, the size of its kernel .-k., found 32 x 4"),
        (slice(0, 10), "found 0 x 0"),
    ],
)
def test_a_small_centre_of_kspace_is_named(truth, toolbox, tmp_path, lines, message):
    """BART ends by an assertion, or without a calibration region."""
    kspace = np.zeros_like(truth.kspace[:1])
    kspace[:, :, lines], kspace[:, :, ::4] = truth.kspace[:1, :, lines], truth.kspace[:1, :, ::4]
    kspace[:, :, 20 if lines.start else 18] = 0
    cfl.write(tmp_path / "kspace", from_batch_coil_yx(kspace))
    with pytest.raises(InputError, match=f"slice 0 of test, kspace/0: ecalib needs .*{message}"):
        foreign.import_to(tmp_path / "data", "cfl", tmp_path / "kspace", toolbox=toolbox)


def test_a_slice_in_which_ecalib_finds_nothing_can_be_left_out(truth, toolbox, tmp_path):
    """Outside of the object, slices of a volume may be below the threshold everywhere."""
    path = foreign.write_bart(truth, tmp_path / "kspace")
    with pytest.raises(InputError, match=r"ecalib finds no coil sensitivities.*--slices and --split leave slices out"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils="ecalib -c 1.1", toolbox=toolbox)


@pytest.mark.parametrize("coils", ["", "ecalib -r 20 -c 0.2", "ecalib -r20 -S"])
def test_estimated_coils_combine_to_the_image(truth, toolbox, tmp_path, coils):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    folder = foreign.import_to(tmp_path / "data", "fastmri", path, {"test": "0"}, coils=coils, toolbox=toolbox)
    reference, image = np.abs(arrays_of(folder)["reference"][0, 0]), np.abs(truth.images[0])
    inside = image > 0.2 * image.max()
    assert relative_difference(reference[inside], image[inside]) < 0.05
    assert yaml.safe_load((folder / "dataset.yaml").read_text())["bart"] == toolbox.version_text


@pytest.mark.parametrize("option", ["-a", "-W"])
def test_estimates_that_draw_random_numbers_are_the_same_with_every_bart(
    truth, each_toolbox, toolbox, tmp_path, option
):
    """Within 1e-4; other random numbers move them by 15 %."""
    noise = 0.02 * np.abs(truth.images).max() * random_complex(np.random.default_rng(0), *truth.kspace[0].shape)
    cfl.write(tmp_path / "kspace", from_batch_coil_yx((truth.kspace[0] + noise)[None]))
    coils = []
    for number, bart in enumerate((each_toolbox, toolbox)):
        choice = {"coils": f"ecalib {option}", "toolbox": bart}
        coils.append(
            arrays_of(foreign.import_to(tmp_path / f"{number}", "cfl", tmp_path / "kspace", **choice))["coils"]
        )
    assert relative_difference(*coils) < 1e-4


@pytest.mark.parametrize("from_file", [False, True])
def test_two_maps(truth, toolbox, tmp_path, from_file):
    """Soft SENSE: what both maps explain of the measured data is at least what the first does."""
    path, choice = foreign.write_fastmri(truth, tmp_path / "file.h5"), "ecalib -m 2 -c 0.1"
    folder = foreign.import_to(tmp_path / "data", "fastmri", path, {"test": "0"}, coils=choice, toolbox=toolbox)
    if from_file:
        choice = str(folder / "test" / "coils")
        folder = foreign.import_to(tmp_path / "again", "fastmri", path, {"test": "0"}, coils=choice, toolbox=toolbox)
    split = Dataset.open(folder).split("test")
    split.validate()
    arrays = split.arrays()
    coils, images = arrays["coils"][0], arrays["reference"][0]
    assert coils.shape == (2, *truth.coils.shape)
    assert np.abs(coils[1]).max() > 0.1
    measured = centred_ifft(arrays["kspace"][0])
    explained = [np.sum(coils[:maps] * images[:maps, None], axis=0) for maps in (1, 2)]
    errors = [relative_difference(found, measured) for found in explained]
    assert errors[1] < errors[0]


def test_measured_brain_has_the_coils_and_the_reference_that_bart_gives(shared, toolbox, tmp_path):
    brain = shared / "data/real/brain_t1_8ch"
    choice = PatternChoice(str(brain / "pattern_vd6"))
    folder = foreign.import_to(tmp_path / "data", "cfl", brain / "kspace", pattern=choice, toolbox=toolbox)
    split = Dataset.open(folder).split("test")
    split.validate()
    expected = {"coils": "sens", "reference": "ref", "pattern": "pattern_vd6"}
    for name, file in expected.items():
        assert relative_difference(cfl.read(getattr(split, name)).squeeze(), cfl.read(brain / file).squeeze()) < 1e-5
    sampled = toolbox.compute("fmac", brain / "kspace", brain / "pattern_vd6")
    np.testing.assert_array_equal(cfl.read(split.kspace).squeeze(), sampled.squeeze())


@pytest.mark.parametrize("option", ["-d 2", "--help", "-x", "output", "; ls", "-r /tmp/x", "-r"])
def test_unknown_options_of_ecalib(truth, toolbox, tmp_path, option):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    error, message = (ToolError, "bart ecalib") if option == "-r" else (InputError, "ecalib takes the options")
    with pytest.raises(error, match=message):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=f"ecalib {option}", toolbox=toolbox)
    assert not (tmp_path / "data").exists()


def test_coils_that_do_not_fit(truth, tmp_path):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    cfl.write(tmp_path / "two", from_batch_coil_yx(np.repeat(truth.coils[None], 2, axis=0)))
    cfl.write(tmp_path / "small", from_batch_coil_yx(truth.coils[None, :, 1:]))
    with pytest.raises(InputError, match="of 1 or of all 3 slices are needed, found 2"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=str(tmp_path / "two"))
    with pytest.raises(InputError, match=r"kspace/0: coil sensitivities must have the shape of k-space \(4, 36, 32\)"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=str(tmp_path / "small"))


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
