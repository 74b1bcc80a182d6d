"""What `bart-tf inspect` says of files of every kind is true: it is compared with what was written into them."""

import struct

import h5py
import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.exporters import export
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.inspection import inspect
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings
from tests import foreign, foreign_fastmri, foreign_raw, foreign_twix, foreign_volumes
from tests.bart_bridge.inspection.conftest import command, facts, measured
from tests.foreign import COILS, SLICES, X, Y


def test_fastmri(truth, tmp_path):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5", undersampled=True)
    rows = measured(path, truth, "fastMRI, multi-coil")
    lines = foreign.regular_lines()
    assert rows["mask"] == f"{lines.sum()} of {Y} lines"
    assert rows["sampled"] == f"{lines.mean():.1%} (acceleration {1 / lines.mean():.2f})"
    assert rows["attribute acquisition"] == "CORPDFS_FBK"
    assert command(rows) == ("fastmri", [])


def test_the_peak_is_where_it_is(truth, tmp_path):
    """Low-field data may have it beside the centre."""
    moved = foreign.Truth(truth.images, truth.coils)
    kspace = np.roll(moved.kspace, (3, -2), axis=(-2, -1))
    cfl.write(tmp_path / "kspace", from_batch_coil_yx(kspace))
    before = facts_of_peak(truth.kspace[1])
    assert before == (0, 0)
    assert facts(tmp_path / "kspace")["peak of k-space"].startswith("at x -2, y +3 from the centre")


def facts_of_peak(kspace):
    magnitude = np.sqrt(np.sum(np.abs(kspace) ** 2, axis=0))
    y, x = np.unravel_index(np.argmax(magnitude), magnitude.shape)
    return x - X // 2, y - Y // 2


def test_a_folder_of_several_sizes(truth, tmp_path):
    rows = facts(foreign_fastmri.write_volumes(truth, tmp_path / "brain"))
    assert rows["format"] == "fastMRI"
    assert rows["size"] == "size=64x36,coils=4: 2 files; size=64x32,coils=4: 1 file; size=64x36,coils=3: 1 file"
    assert command(rows) == ("fastmri", ["--match=size=64x36,coils=4"])


def test_prostate(truth, tmp_path):
    path = foreign_fastmri.write_prostate(truth, tmp_path / "file.h5")
    rows = measured(path, truth, "fastMRI, prostate T2 with averages")
    assert rows["sampled"] == "100.0%, counts as fully sampled"


def test_breast(truth, tmp_path):
    rows = facts(foreign_fastmri.write_breast(truth, tmp_path / "file.h5"))
    assert (rows["format"], rows["slices"], rows["coils"]) == ("breast data of fastMRI", "4", str(COILS))
    assert rows["trajectory"] == f"64 spokes of {2 * X} samples up to {X // 2} / field of view"
    assert command(rows) == ("fastmri-breast", [])


def test_relatives_are_named(tmp_path):
    with h5py.File(tmp_path / "single.h5", "w") as file:
        file["kspace"], file["reconstruction_esc"] = np.zeros((2, 8, 8), complex), np.zeros((2, 8, 8))
    rows = facts(tmp_path / "single.h5")
    assert rows["format"] == "fastMRI"
    assert rows["import"].startswith("n/a (single-coil data of fastMRI are emulated")


def test_m4raw(truth, tmp_path):
    folder = foreign_fastmri.write_m4raw(truth, tmp_path / "m4raw", ["T1"])
    rows = measured(folder, truth, "M4Raw")
    assert command(rows) == ("m4raw", ["--repetition=average"])
    rows = facts(folder / "2022061003_T102.h5")
    assert command(rows) == ("m4raw", [])


def test_skm_tea(truth, tmp_path):
    path = foreign_fastmri.write_skm_tea(truth, tmp_path / "MTR_001.h5", echo=0)
    rows = measured(path, truth, "raw data of SKM-TEA")
    assert command(rows) == ("skm-tea", ["--contrast=0"])
    assert (rows["coil sensitivities"], rows["reference"]) == ("in the file", "in the file")
    assert facts(tmp_path)["format"] == "raw data of SKM-TEA (its first file)"


def test_volumes(truth, tmp_path):
    rows = facts(foreign_volumes.write_calgary(truth, tmp_path / "volume.h5"))
    assert rows["format"] == "Calgary-Campinas"
    assert command(rows)[0] == "calgary-campinas"
    rows = facts(foreign_volumes.write_cmrxrecon(truth, tmp_path / "cine.mat"))
    assert rows["format"] == "MATLAB 7.3: k-space of CMRxRecon"
    assert command(rows)[0] == "cmrxrecon"
    with h5py.File(tmp_path / "cine.mat") as file, h5py.File(tmp_path / "plain.mat", "w") as plain:
        file.copy("kspace_full", plain)  # without MATLAB's first line, as h5py writes it
    assert command(facts(tmp_path / "plain.mat"))[0] == "cmrxrecon"
    rows = facts(foreign_raw.write_volume(truth, tmp_path / "raw.h5"))
    assert command(rows)[0] == "ismrmrd"


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab(truth, tmp_path, version):
    folder = foreign.write_varnet(truth, tmp_path / "knee", version=version, subjects=[1])
    rows = measured(folder, truth, "VarNet's knee data")
    assert command(rows) == ("varnet-mat", [])
    rows = facts(folder / "1/rawdata2.mat")
    assert rows["format"] == f"MATLAB {version}: VarNet's knee data"
    assert "import the folder above its subject" in rows["import"]
    rows = facts(folder / "masks/COR_PD_FS_iPat4_masks.mat")
    assert (rows["format"], rows["import"]) == (f"MATLAB {version}: a sampling pattern", "n/a (for --pattern)")


def test_modl(truth, tmp_path):
    rows = measured(
        foreign.write_modl(truth, tmp_path / "dataset.hdf5"),
        truth,
        "images and coil sensitivities of MoDL",
        peak_of=0,
        slices=2 * SLICES,
    )
    assert command(rows) == ("modl-hdf5", [])


def test_bart_arrays(truth, tmp_path):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    for name in (path, path.with_suffix(".cfl"), path.with_suffix(".hdr")):
        rows = measured(name, truth, "array of BART with coils, taken as k-space")
        assert rows["dimensions"] == f"x {X}, y {Y}, coil {COILS}, batch {SLICES}"
    cfl.write(tmp_path / "image", truth.images[0].T)
    rows = facts(tmp_path / "image")
    assert rows["largest value"] == f"{np.abs(truth.images[0]).max():.4g}"
    assert rows["import"] == "n/a (no coils: images, a pattern or a reference)"
    cfl.write(tmp_path / "trajectory", np.full((3, 16, 9), -8))
    assert facts(tmp_path / "trajectory")["largest coordinate"].startswith("8 ")
    assert facts(tmp_path)["arrays"] == "image, kspace, trajectory"


def test_weights_of_bart(tmp_path):
    network = ModlSettings(iterations=5, layers=3, filters=8)
    weights.write(tmp_path / "wgh", network, weights.random(network, 0))
    rows = facts(tmp_path / "wgh")
    assert (rows["format"], rows["network"]) == ("weights of a network (BART)", "MoDL")
    multi_cfl.write(tmp_path / "several", [np.ones((2, 3)), np.ones(4)])
    rows = facts(tmp_path / "several")
    assert (rows["format"], rows["arrays"]) == ("several arrays of BART", "2 x 3, 4")


def test_dataset_and_its_exports(truth, tmp_path):
    path, coils = foreign.write_bart(truth, tmp_path / "kspace"), foreign.write_coils(truth, tmp_path / "coils")
    folder = foreign.import_to(tmp_path / "data", "cfl", path, {"train": "0-1", "test": "2"}, coils=str(coils))
    rows = facts(folder)
    assert rows["source"] == "imported from cfl"
    assert rows["train"] == f"2 slices of {X} x {Y} pixels, {COILS} coils, 100.0% sampled, a reference"
    assert rows["test"] == f"1 slice of {X} x {Y} pixels, {COILS} coils, 100.0% sampled, a reference"
    export("ismrmrd", folder, tmp_path / "raw.mrd")
    rows = measured(tmp_path / "raw.mrd", truth, "ISMRMRD raw data")
    assert rows["coil sensitivities"] == "in the file"
    pytest.importorskip("nibabel")
    export("nifti", folder, tmp_path / "nifti")
    rows = facts(tmp_path / "nifti/train_part-mag.nii.gz")
    assert (rows["format"], rows["size"], rows["axes"]) == ("NIfTI", f"{X} x {Y} x 2 float32", "LPS")


def test_twix_without_and_with_its_library(truth, tmp_path, monkeypatch):
    pytest.importorskip("twixtools")
    path = foreign_twix.write_slices(truth, tmp_path / "meas.dat")
    rows = measured(path, truth, "Siemens raw data (twix), by its name and first bytes")
    assert command(rows) == ("twix", [])
    monkeypatch.setattr("bart_bridge.importers.twix.find_spec", lambda name: None)
    assert facts(path)["import"].startswith("n/a (twixtools is not installed")


def test_simulated_radial_data(toolbox, tmp_path):
    from bart_bridge.data.simulation import Simulation, simulate

    settings = Simulation(size=24, coil_count=2, train=2, validation=1, test=1, pattern="radial", spokes=9)
    simulate(tmp_path / "data", settings, toolbox)
    rows = facts(tmp_path / "data")
    assert rows["train"] == "2 slices of 24 x 24 pixels, 2 coils, 9 spokes of 24 samples, a reference"
    assert "/ field of view from the centre" in rows["peak of k-space"]


def dicom(path):
    path.write_bytes(bytes(128) + b"DICM" + bytes(20))


def twix(path):
    path.write_bytes(struct.pack("<II", 0, 2) + bytes(600))


def numpy_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones((3, 4), np.complex64))


def generic_hdf5(path):
    with h5py.File(path, "w") as file:
        file["a/b"] = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("name", "write", "what", "row"),
    [
        ("IM0001", dicom, "DICOM", ("import", "n/a (images, not k-space; bart-tf does not read them)")),
        ("meas.dat", twix, "Siemens raw data (twix), by its name and first bytes", ("measurements", "2")),
        ("a.npy", numpy_array, "array of NumPy", ("array", "(3 x 4) complex64")),
        ("a.h5", generic_hdf5, "HDF5", ("arrays", "a/b (2 x 3) float32")),
        ("P01024.7", lambda path: path.write_bytes(bytes(700)), "GE P-file, by its name", None),
        ("a.ra", lambda path: path.write_bytes(b"rawarray" + bytes(90)), "RawArray (.ra)", None),
        ("a.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "PNG picture", None),
    ],
)
def test_what_is_only_named(tmp_path, name, write, what, row):
    write(tmp_path / name)
    rows = facts(tmp_path / name)
    assert rows["format"] == what
    if row:
        assert rows[row[0]] == row[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello world", "not recognised (11 bytes that begin with b'hello wo'); bart-tf knows HDF5, MATLAB"),
        (b"", "not recognised (an empty file)"),
        (b"\x89HDF\r\n\x1a\n" + bytes(30), "cannot be read as HDF5"),
        (b"MATLAB 5.0 MAT-file" + bytes(30), "a MATLAB file of version 5 or 7.3 is needed"),
    ],
)
def test_what_is_not_recognised_or_damaged_is_one_line(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError) as caught:
        inspect(tmp_path / "file")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_without_data(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"nothing that bart-tf knows in this folder \(1 .txt\)"):
        inspect(tmp_path)
    with pytest.raises(InputError, match="missing: no such file or folder"):
        inspect(tmp_path / "missing")
    dicom(tmp_path / "IM0001")
    assert facts(tmp_path)["DICOM"] == "1 file"


def test_what_a_file_says_of_itself_cannot_move_the_cursor(truth, tmp_path):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["acquisition"] = "\x1b[2Jred\nline"
    assert all(text.isprintable() and len(text) <= 500 for row in inspect(path).table() for text in row)


def test_kspace_without_signal_has_no_import(tmp_path):
    cfl.write(tmp_path / "kspace", np.zeros((8, 8, 1, 2), np.complex64))
    assert facts(tmp_path / "kspace")["import"] == "n/a (k-space must not be zero everywhere, it is in kspace/0)"


def test_fields_of_a_compound_are_named(tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["heads"] = np.zeros(3, [("slice", "<u2"), ("position", "<f4", (3,))])
    assert facts(tmp_path / "file.h5")["arrays"] == "heads (3) compound (slice, position)"


def test_rows_fit_a_terminal_and_the_command_stays_whole(truth, tmp_path):
    description = inspect(foreign.write_fastmri(truth, tmp_path / ("a long name " * 8 + ".h5")))
    lines = description.text(80).splitlines()
    assert max(map(len, lines[:-1])) <= 80
    indent = lines[0].index("fastMRI")
    joined = " ".join(line[indent:] if line.startswith(" ") else line for line in lines)
    assert joined.split() == description.text().split()
    assert lines[-1].endswith(f" {description.command}")
