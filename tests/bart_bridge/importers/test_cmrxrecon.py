"""Time series of CMRxRecon: frames, their patterns, and the variables of each year."""

import h5py
import numpy as np
import pytest
import yaml

from bart_bridge.errors import InputError
from bart_bridge.importers import open_source
from bart_bridge.inspection import inspect
from tests import foreign, foreign_volumes
from tests.foreign_volumes import FRAMES


@pytest.fixture
def import_series(tmp_path):
    """Import all of a file or folder; return what the command says of it, and the arrays."""
    return lambda path, coils, kind="cmrxrecon", **options: foreign.import_all(
        tmp_path / "data", kind, path, coils, **options
    )


@pytest.mark.parametrize(
    ("frames", "chosen"), [(None, [0]), ("0", [0]), ("1-2", [1, 2]), ("0-2/2", [0, 2]), ("all", [0, 1, 2])]
)
def test_frames_become_slices(truth, coils, tmp_path, frames, chosen, import_series):
    path = foreign_volumes.write_cmrxrecon(truth, tmp_path / "cine_sax.mat")
    imported, arrays = import_series(path, coils, **({"frames": frames} if frames else {}))
    expected = foreign_volumes.cine(truth)[chosen].reshape(-1, foreign.COILS, foreign.Y, foreign.X)
    np.testing.assert_array_equal(arrays["kspace"], expected)
    left_out = "slices of time frames that --frames does not take"
    assert imported.left_out.get(left_out, 0) == (FRAMES - len(chosen)) * foreign.SLICES
    names = yaml.safe_load((tmp_path / "data/dataset.yaml").read_text())["slices"]["test"]
    assert names[-1] == f"cine_sax.mat/slice 2, frame {chosen[-1]}"


@pytest.mark.parametrize("name", ["kspace", "kus", "kspace_sub04", "kspace_full"])
def test_variables_of_2023_to_2025(truth, coils, tmp_path, name, import_series):
    mask = foreign.regular_lines()[:, None]
    path = foreign_volumes.write_cmrxrecon(truth, tmp_path / "cine.mat", name, mask)
    _, arrays = import_series(path, coils)
    np.testing.assert_array_equal(arrays["kspace"], truth.kspace * mask)
    assert "reference" not in arrays


def test_single_coil_data_and_data_without_frames(truth, tmp_path, import_series):
    (tmp_path / "ones").mkdir()
    ones = foreign.Truth(truth.images, np.ones((1, foreign.Y, foreign.X)))
    coils = str(foreign.write_coils(ones, tmp_path / "ones/coils"))
    path = tmp_path / "cine_lax.mat"
    foreign.write_mat73(path, {"kspace_single_full": ones.kspace[:, 0].transpose()})
    _, arrays = import_series(path, coils)
    np.testing.assert_array_equal(arrays["kspace"], ones.kspace)


def test_a_struct_of_real_and_imaginary_parts(truth, coils, tmp_path, import_series):
    with h5py.File(tmp_path / "cine.mat", "w") as file:
        for part in ("real", "imag"):
            file[f"kspace_full/{part}"] = getattr(foreign_volumes.cine(truth), part)
    _, arrays = import_series(tmp_path / "cine.mat", coils, frames="2")
    np.testing.assert_array_equal(arrays["kspace"], foreign_volumes.cine(truth)[2])


def test_subjects_of_a_folder_and_their_masks(truth, coils, tmp_path, import_series):
    for subject in ("P002", "P001"):
        (tmp_path / "FullSample" / subject).mkdir(parents=True)
        foreign_volumes.write_cmrxrecon(truth, tmp_path / f"FullSample/{subject}/cine_sax.mat")
    mask = tmp_path / "FullSample/P001/cine_sax_mask.mat"
    foreign.write_mat73(mask, {"mask04": np.tile(foreign.regular_lines(), (foreign.X, 1)).astype(float)})
    source = open_source("cmrxrecon", tmp_path / "FullSample")
    assert [entry.name for entry in source.split({"test": "1"}, None)["test"]] == [
        f"P002/cine_sax.mat/slice {item}, frame 0" for item in range(foreign.SLICES)
    ]
    assert source.left_out["mask files (*_mask*.mat); --pattern takes one"] == 1
    _, arrays = import_series(tmp_path / "FullSample", coils, pattern=str(mask))
    np.testing.assert_array_equal(arrays["pattern"][0, 0], np.repeat(foreign.regular_lines()[:, None], 32, axis=1))


def test_short_and_long_axis_in_one_folder(truth, coils, tmp_path, import_series):
    """Both views of a heart have the same names for every subject, but not the same size."""
    folder = tmp_path / "FullSample"
    for subject in ("P001", "P002"):
        (folder / subject).mkdir(parents=True)
        foreign_volumes.write_cmrxrecon(truth, folder / subject / "cine_sax.mat")
    foreign.write_mat73(folder / "P001/cine_lax.mat", {"kspace_full": truth.kspace[:1, :, 2:-2].transpose()})
    sizes = r"size=32x36,coils=4 \(2 files\); size=32x32,coils=4 \(1 file\)"
    with pytest.raises(InputError, match=rf"found {sizes}; choose with --match$"):
        open_source("cmrxrecon", folder)
    assert "--match=size=32x36,coils=4" in inspect(folder).command
    assert ("files", "2 folders") in inspect(folder).rows
    source = open_source("cmrxrecon", folder, match="name=cine_sax")
    assert source.description["files"] == ["P001/cine_sax.mat", "P002/cine_sax.mat"]
    assert source.left_out["files that --match does not take"] == 1
    _, arrays = import_series(folder, coils, match="name=cine_sax,size=32x36")
    np.testing.assert_array_equal(arrays["kspace"], np.concatenate([truth.kspace, truth.kspace]))
    with pytest.raises(InputError, match="of a folder, this is a file"):
        open_source("cmrxrecon", folder / "P001/cine_lax.mat", match="coils=4")


@pytest.mark.parametrize("frames", ["3", "", "0-", "frame"])
def test_frames_that_cannot_be(truth, tmp_path, frames):
    path = foreign_volumes.write_cmrxrecon(truth, tmp_path / "cine.mat")
    with pytest.raises(InputError, match="--frames"):
        open_source("cmrxrecon", path, frames=frames)


def test_flow_data_of_2026_are_refused_by_name(truth, tmp_path):
    path = foreign_volumes.write_cmrxrecon(truth, tmp_path / "kdata_full.mat", "kdata_full")
    with pytest.raises(InputError, match=r"kspace_full, .* is needed, found kdata_full"):
        open_source("cmrxrecon", path)


# Patterns


def interleaved():
    """One pattern for each frame, `(frame, y, x)`: other lines, and in the last frame parts of readouts."""
    centre = np.abs(np.arange(foreign.Y) - foreign.Y // 2) < 4
    lines = [((np.arange(foreign.Y) + frame) % 3 == 0) | centre for frame in range(FRAMES)]
    masks = np.repeat(np.stack(lines)[..., None], foreign.X, axis=2)
    masks[-1] &= np.arange(foreign.X) < 25
    return masks


@pytest.mark.parametrize("frames", ["all", "1-2", "2"])
def test_patterns_of_an_undersampled_series_are_those_of_each_frame(truth, coils, tmp_path, import_series, frames):
    mask = interleaved()[:, None, None]
    path = foreign_volumes.write_cmrxrecon(truth, tmp_path / "cine_sax_kus_ktUniform4.mat", "kus", mask)
    _, arrays = import_series(path, coils, frames=frames)
    chosen = {"all": [0, 1, 2], "1-2": [1, 2], "2": [2]}[frames]
    np.testing.assert_array_equal(arrays["pattern"][:, 0], np.repeat(interleaved()[chosen], foreign.SLICES, axis=0))
    expected = (foreign_volumes.cine(truth) * mask)[chosen]
    np.testing.assert_array_equal(arrays["kspace"], expected.reshape(arrays["kspace"].shape))


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_mask_with_time_frames_gives_each_frame_its_own(truth, coils, tmp_path, import_series, version):
    from scipy.io import savemat

    path = foreign_volumes.write_cmrxrecon(truth, tmp_path / "cine_sax.mat")
    write = savemat if version == "5" else foreign.write_mat73
    mask = tmp_path / "cine_sax_mask_ktRadial4.mat"
    write(mask, {"mask": interleaved().transpose().astype(float)})
    _, arrays = import_series(path, coils, pattern=str(mask), frames="0,2")
    np.testing.assert_array_equal(arrays["pattern"][:, 0], np.repeat(interleaved()[[0, 2]], foreign.SLICES, axis=0))
    assert "reference" in arrays


def test_masks_with_other_frames_than_the_data(truth, coils, tmp_path, import_series):
    mask = tmp_path / "mask.mat"
    rule = "a mask of three dimensions has one pattern for each time frame, found 2 patterns; the data have"
    foreign.write_mat73(mask, {"mask": interleaved()[:2].transpose().astype(float)})
    with pytest.raises(InputError, match=f"{rule} time frames: 3"):
        import_series(foreign_volumes.write_cmrxrecon(truth, tmp_path / "cine.mat"), coils, pattern=str(mask))
    with pytest.raises(InputError, match=f"{rule} no time frames"):
        import_series(foreign.write_bart(truth, tmp_path / "kspace"), coils, pattern=str(mask), kind="cfl")
    foreign.write_mat73(mask, {"mask": np.ones((foreign.X, foreign.Y, 2, 2))})
    with pytest.raises(InputError, match=r"must have dimensions x, y and perhaps time frame, found \(32, 36, 2, 2\)"):
        import_series(tmp_path / "cine.mat", coils, pattern=str(mask))


def test_a_mask_with_frames_cannot_sample_what_was_not_measured(truth, coils, tmp_path, import_series):
    masks = interleaved()
    path = foreign_volumes.write_cmrxrecon(truth, tmp_path / "kus.mat", "kus", masks[:, None, None])
    foreign.write_mat73(tmp_path / "mask.mat", {"mask": np.roll(masks, 1, axis=0).transpose().astype(float)})
    with pytest.raises(InputError, match=r"the pattern samples \d+ positions not measured"):
        import_series(path, coils, pattern=str(tmp_path / "mask.mat"))
