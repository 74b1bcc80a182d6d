"""Files as people have them: cases of public bug reports, in small files that are made here."""

from functools import partial

import h5py
import ismrmrd
import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.importers import open_source
from bart_bridge.importers.varnet_mat import published_lines
from tests import foreign
from tests.bart_bridge.importers.sources import edit, import_
from tests.helper import random_complex, relative_difference

LINES = foreign.regular_lines()
CALIBRATION, BOTH = ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING


# Lines that are missing without a word


def fastmri(truth, folder):
    path = foreign.write_fastmri(truth, folder / "file.h5")
    edit(path, "kspace", lambda kspace: kspace * LINES)
    return path


def varnet(truth, folder):
    from scipy.io import loadmat, savemat

    path = foreign.write_varnet(truth, folder / "knee", subjects=[1], mask=False)
    for file in path.glob("1/rawdata*.mat"):
        savemat(file, {"rawdata": loadmat(file)["rawdata"] * LINES[:, None]})
    return path


def zenodo(truth, folder):
    path = foreign.write_zenodo(truth, folder / "knee", subjects=[1])
    shape = (1, foreign.Y, *(1,) * 14)
    cfl.write(path / "ksp_1", cfl.read(path / "ksp_1") * LINES.reshape(shape))
    return path


def raw_lines_of_zeros(truth, folder):
    path = foreign.write_ismrmrd(truth, folder / "raw.h5")
    with h5py.File(path, "r+") as file:
        lines = file["dataset/data"][()]
        for line in lines:
            if not LINES[line["head"]["idx"]["kspace_encode_step_1"]]:
                line["data"][:] = 0
        file["dataset/data"][...] = lines
    return path


def bare(truth, folder):
    cfl.write(folder / "kspace", from_batch_coil_yx(truth.kspace * LINES[:, None]))
    return folder / "kspace"


UNDERSAMPLED = {
    "fastmri": fastmri,
    "varnet-mat": varnet,
    "varnet-mat cfl": zenodo,
    "ismrmrd": raw_lines_of_zeros,
    "cfl": bare,
}


@pytest.mark.parametrize("name", UNDERSAMPLED)
def test_missing_lines_are_not_sampled_whoever_forgot_to_say_so(truth, coils, tmp_path, name):
    path, kind = UNDERSAMPLED[name](truth, tmp_path), name.split()[0]
    coils = "" if kind == "varnet-mat" else coils
    imported, arrays = import_(tmp_path / "data", kind, path, coils)
    assert "reference" not in arrays
    for pattern in arrays["pattern"][:, 0]:
        np.testing.assert_array_equal(pattern, np.repeat(LINES[:, None], foreign.X, axis=1))
    assert relative_difference(arrays["kspace"], truth.kspace * LINES[:, None]) < 1e-5
    sampled = f"{LINES.mean():.1%} sampled (acceleration {1 / LINES.mean():.3g})"
    assert str(imported) == f"slices: 3 for test; 32 x 36 pixels, 4 coils, {sampled}, no reference"
    with pytest.raises(InputError, match="--pattern regular needs fully sampled k-space"):
        import_(tmp_path / "again", kind, path, coils, pattern="regular")
    cfl.write(tmp_path / "all", np.ones((foreign.X, foreign.Y)))
    with pytest.raises(InputError, match=r"samples \d+ positions not measured"):
        import_(tmp_path / "again", kind, path, coils, pattern=str(tmp_path / "all"))


def test_padded_edges_and_samples_that_are_zero_by_chance_are_no_undersampling(truth, coils, tmp_path):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")

    def pad(kspace):
        kspace[..., :3], kspace[..., -2:], kspace[..., :4, :], kspace[..., -4:, :] = 0, 0, 0, 0
        kspace[..., 7, 9] = 0
        return kspace

    edit(path, "kspace", pad)
    _, arrays = import_(tmp_path / "data", "fastmri", path, coils)
    assert "reference" in arrays
    np.testing.assert_array_equal(arrays["pattern"][0, 0, :, 0], (np.arange(36) >= 3) & (np.arange(36) < 34))


@pytest.mark.parametrize("part", ["echo", "random"])
def test_incomplete_readouts_that_are_oversampled_are_refused(truth, coils, tmp_path, part):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    pattern = np.arange(64)[:, None] >= 10
    if part == "random":
        pattern = np.random.default_rng(0).uniform(size=(64, foreign.Y)) < 0.5
    edit(path, "kspace", lambda kspace: kspace * pattern)
    with pytest.raises(InputError, match="slice 0: readouts that are incomplete and oversampled"):
        import_(tmp_path / "data", "fastmri", path, coils)


def test_a_mask_that_the_data_contradict_is_refused(truth, coils, tmp_path):
    path = fastmri(truth, tmp_path)
    with h5py.File(path, "r+") as file:
        file["mask"] = np.ones(foreign.Y)
    with pytest.raises(InputError, match=rf"'mask' samples {(~LINES[1:-1]).sum()} lines whose k-space is zero"):
        import_(tmp_path / "data", "fastmri", path, coils)


@pytest.mark.parametrize("missing", [False, True])
def test_published_pattern_is_for_whole_kspace_alone(tmp_path, missing):
    """Its edges are zero-padded by as much as the scanner left, not equally."""
    generator = np.random.default_rng(0)
    kspace, maps = random_complex(generator, 1, 2, 368, 16), random_complex(generator, 1, 2, 368, 16)
    kspace[:, :, :3], kspace[:, :, -17:] = 0, 0
    if missing:
        kspace[:, :, 101:300:2] = 0
    for name, array in (("ksp_1", kspace), ("col_1", maps)):
        cfl.write(tmp_path / name, from_batch_coil_yx(array))
    _, arrays = import_(tmp_path / "data", "varnet-mat", tmp_path)
    expected = kspace[0].any(axis=(0, 2)) if missing else published_lines()
    np.testing.assert_array_equal(arrays["pattern"][0, 0, :, 0], expected)
    assert ("reference" in arrays) is not missing


# Less than was published


@pytest.mark.parametrize(("prefix", "split"), [("tst", "test"), ("trn", "train")])
def test_one_set_of_modl_is_enough(truth, tmp_path, prefix, split):
    path = foreign.write_modl(truth, tmp_path / "demoImage.hdf5")
    with h5py.File(path, "r+") as file:
        for suffix in ("Org", "Csm", "Mask"):
            del file[("trn" if prefix == "tst" else "tst") + suffix]
        file["extra"] = np.ones(3)
    source = open_source("modl-hdf5", path)
    assert {name: [entry.name for entry in entries] for name, entries in source.split({}, None).items()} == {
        split: [f"{prefix}{number}" for number in range(3)]
    }
    assert "the published one needs" in source.split_note
    assert [count for name, count in source.left_out.items() if name.startswith("arrays other")] == [1]


def test_knee_data_that_are_not_all_there_go_into_test(truth, tmp_path):
    path = foreign.write_varnet(truth, tmp_path / "knee", subjects=[1, 2])
    source = open_source("varnet-mat", path)
    splits = source.split({}, None)
    assert [entry.name for entry in splits["test"]] == [f"{s}/rawdata{n}.mat" for s in (1, 2) for n in (1, 2, 3)]
    assert list(splits) == ["test"]
    assert "needs subjects 1 to 20, found 1, 2" in source.split_note
    assert "10-29" in source.slices_note


def test_slices_that_no_split_takes_are_counted(truth, coils, tmp_path):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    imported, _ = import_(tmp_path / "data", "cfl", path, coils, {"test": "1"})
    assert imported.left_out == {"slices that no split takes": 2}


# Axes in another order


def swap(name, *order):
    return lambda path: edit(path, name, lambda values: values.transpose(order))


def one_order_of_modl(path):
    for name in ("tstOrg", "tstMask", "trnOrg", "trnMask"):
        swap(name, 2, 1, 0)(path)
    for name in ("tstCsm", "trnCsm"):
        swap(name, 3, 2, 1, 0)(path)


def columns_as_coils(path):
    with h5py.File(path, "r+") as file:
        for name in list(file):
            del file[name]
        file["tstOrg"] = file["tstMask"] = np.ones((3, 32, 4))
        file["tstCsm"] = np.ones((3, 36, 32, 4))


def numpy_order(path):
    """MATLAB 7.3 files of Python, which does not reverse the axes as MATLAB does."""
    for number in (1, 2, 3):
        for name, key in ((f"rawdata{number}.mat", "rawdata"), (f"espirit{number}.mat", "sensitivities")):
            swap(key, 2, 1, 0)(path / "1" / name)


def coils_as_samples(path):
    with h5py.File(path, "r+") as file:
        lines = file["dataset/data"][()]
        lines["head"]["active_channels"], lines["head"]["number_of_samples"] = 64, 4
        file["dataset/data"][...] = lines


def bart_order(path):
    cfl.write(path, np.array(cfl.read(path)).swapaxes(0, 3))


WRITERS = {
    "varnet-mat": partial(foreign.write_varnet, version="7.3", subjects=[1]),
    "modl-hdf5": foreign.write_modl,
    "fastmri": foreign.write_fastmri,
    "ismrmrd": foreign.write_ismrmrd,
    "cfl": foreign.write_bart,
}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "varnet-mat",
            numpy_order,
            "read as (readout 4, phase encoding 36, coil 64), there are more coils than pixels along an axis; "
            "its axes would fit as (coil 4, phase encoding 36, readout 64)",
        ),
        ("modl-hdf5", one_order_of_modl, "their axes would fit in reverse order"),
        ("modl-hdf5", columns_as_coils, "as (slice 3, row 36, column 32, coil 4)"),
        ("fastmri", swap("kspace", 0, 2, 3, 1), "as (slice 3, readout 64, phase encoding 36, coil 4)"),
        ("fastmri", swap("kspace", 0, 1, 3, 2), "as (slice 3, coil 4, phase encoding 36, readout 64)"),
        ("ismrmrd", coils_as_samples, "as (readout 64, coil 4)"),
        ("cfl", bart_order, "read as (x 4, y 36, coil 32)"),
    ],
)
def test_an_order_of_axes_that_cannot_be_is_refused_with_one_that_could(truth, tmp_path, kind, change, message):
    (tmp_path / "source").mkdir()
    path = WRITERS[kind](truth, tmp_path / "source" / "data")
    change(path)
    with pytest.raises(InputError) as caught:
        import_(tmp_path / "data", kind, path)
    assert message in str(caught.value)
    assert not (tmp_path / "data").exists()


# What macOS leaves on foreign disks


def test_apple_doubles_are_skipped_and_counted(truth, coils, tmp_path):
    (tmp_path / "volumes").mkdir()
    foreign.write_fastmri(truth, tmp_path / "volumes/a.h5")
    (tmp_path / "volumes/._a.h5").write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    (tmp_path / "volumes/notes.txt").write_text("mine")
    imported, _ = import_(tmp_path / "data", "fastmri", tmp_path / "volumes", coils)
    assert imported.left_out == {"AppleDouble files (._*)": 1, "files that do not end in .h5": 1}
    assert imported.slices == {"test": 3}


def test_apple_doubles_of_masks_are_skipped(truth, tmp_path):
    path = foreign.write_varnet(truth, tmp_path / "knee", subjects=[1])
    for file in (*path.glob("masks/*.mat"), *path.glob("1/rawdata1.mat")):
        file.with_name(f"._{file.name}").write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    imported, arrays = import_(tmp_path / "data", "varnet-mat", path)
    assert imported.left_out == {"AppleDouble files (._*)": 2}
    np.testing.assert_array_equal(arrays["pattern"][0, 0, :, 0], LINES)


# Slices without a signal


@pytest.mark.parametrize(("value", "rule"), [(0, "must not be zero everywhere"), (np.nan, "must be finite")])
def test_coils_that_are_bad_in_one_slice(truth, tmp_path, value, rule):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    maps = np.repeat(truth.coils[None], 3, axis=0)
    maps[1] *= value
    cfl.write(tmp_path / "coils", from_batch_coil_yx(maps))
    with pytest.raises(InputError, match=f"slice 0 of validation, kspace/1: 'coils' {rule}"):
        import_(tmp_path / "data", "cfl", path, str(tmp_path / "coils"), {"test": "0,2", "validation": "1"})
    assert not (tmp_path / "data").exists()


def test_a_reference_that_is_zero_in_one_slice(truth, tmp_path):
    """Noise alone is a signal."""
    path = foreign.write_modl(truth, tmp_path / "dataset.hdf5")
    edit(path, "tstOrg", lambda images: images * np.array([1, 1, 0])[:, None, None])
    with pytest.raises(InputError, match="slice 2 of test, tst2: 'reference' must not be zero everywhere"):
        import_(tmp_path / "data", "modl-hdf5", path, split={"test": "tst0-2"})
