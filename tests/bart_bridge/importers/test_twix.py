"""Siemens raw data, written by twixtools, and read by it, by BART and by hand."""

import os

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.data.fourier import remove_oversampling
from bart_bridge.errors import InputError, ToolError
from bart_bridge.files import cfl
from bart_bridge.importers import open_source
from tests import foreign, foreign_twix
from tests.foreign_twix import line, protocol
from tests.helper import random_complex, relative_difference

X, Y = foreign.X, foreign.Y


def lines_of(kspace, rows=None, flags=(), centre=Y // 2, **counters):
    rows = range(kspace.shape[1]) if rows is None else rows
    return [line(kspace[:, y], flags, centres=(centre, 0), Lin=y, **counters) for y in rows]


def one(path, kspace, **options):
    """A file of one slice without oversampling."""
    return foreign_twix.write(path, [(protocol(X, Y, factor=1.0, **options), lines_of(kspace))])


def load(path, unit="0", **options):
    return open_source("twix", path, **options).units[unit][0].load()


def test_averages_turned_lines_and_noise(truth, coils, tmp_path):
    path = foreign_twix.write_slices(truth, tmp_path / "meas.dat")
    source = open_source("twix", path)
    assert source.left_out["lines flagged NOISEADJSCAN"] == 1
    assert "108 of 216 readouts were reversed and are turned" in source.notes[0]
    folder = foreign.import_to(tmp_path / "data", "twix", path, coils=coils)
    split = Dataset.open(folder).split("test")
    split.validate()
    assert relative_difference(split.arrays()["reference"][:, 0], truth.images) < 1e-5


def test_bart_reads_the_same_lines(truth, toolbox, tmp_path):
    """`bart twixread` does not know averages of one file by itself, so this file has one."""
    _, kspace = truth.oversampled()
    lines = [item for number in range(3) for item in lines_of(kspace[number], Sli=number)]
    path = foreign_twix.write(tmp_path / "meas.dat", [(protocol(2 * X, Y), lines)])
    sizes = ("-x", 2 * X, "-y", Y, "-s", 3, "-c", foreign.COILS)
    by_bart = toolbox.compute("twixread", *sizes, "-a", len(lines), path).squeeze()
    for number in range(3):
        expected = remove_oversampling(by_bart[..., number].transpose(2, 1, 0), X)
        np.testing.assert_array_equal(load(path, str(number)).kspace, expected)


def test_twixtools_reads_the_same_lines(truth, tmp_path):
    import twixtools

    path = one(tmp_path / "meas.dat", truth.kspace[0])
    stored = [
        item.data
        for item in twixtools.read_twix(str(path), verbose=False, parse_pmu=False, parse_geometry=False)[0]["mdb"]
    ]
    np.testing.assert_array_equal(load(path).kspace, np.stack(stored, axis=1))
    np.testing.assert_array_equal(load(path).kspace, truth.kspace[0])


def test_measured_data_come_back(shared, tmp_path):
    """K-space of a scanner, whose lines came from a file of this kind."""
    kspace = cfl.read(shared / "data/real/acr_phantom_gre_2ch/kspace").squeeze().transpose(2, 1, 0)
    lines = lines_of(kspace, centre=80)
    path = foreign_twix.write(tmp_path / "meas.dat", [(protocol(160, 160, factor=1.0), lines)])
    np.testing.assert_array_equal(load(path).kspace, kspace)


@pytest.mark.parametrize(
    ("option", "counter"), [("repetition", "Rep"), ("contrast", "Eco"), ("set_", "Set"), ("phase", "Phs")]
)
def test_a_counter_with_several_values_is_chosen(truth, tmp_path, option, counter):
    lines = [item for number in (0, 1) for item in lines_of(truth.kspace[number], **{counter: number})]
    path = foreign_twix.write(tmp_path / "meas.dat", [(protocol(X, Y, factor=1.0), lines)])
    with pytest.raises(InputError, match=rf"it has 2 {option.strip('_')}s \(0, 1\); choose one"):
        open_source("twix", path)
    np.testing.assert_array_equal(load(path, **{option: "1"}).kspace, truth.kspace[1])


def test_the_last_measurement_holds_the_images(truth, tmp_path):
    first = protocol(X, 4, factor=1.0), [line(np.ones((2, X)), ["NOISEADJSCAN"])]
    path = foreign_twix.write(tmp_path / "meas.dat", [first, (protocol(X, Y, factor=1.0), lines_of(truth.kspace[0]))])
    assert open_source("twix", path).notes == ("it has 2 measurements, of which the last is imported",)
    np.testing.assert_array_equal(load(path).kspace, truth.kspace[0])


def test_calibration_is_no_sample(truth, tmp_path):
    lines = lines_of(truth.kspace[0], range(0, Y, 2)) + lines_of(3 * truth.kspace[0], range(13, 24, 2), ["PATREFSCAN"])
    lines += lines_of(truth.kspace[0], range(1, 4, 2), ["PATREFSCAN", "PATREFANDIMASCAN"])
    path = foreign_twix.write(tmp_path / "meas.dat", [(protocol(X, Y, factor=1.0), lines)])
    item = load(path)
    image = (np.arange(Y) % 2 == 0) | np.isin(np.arange(Y), [1, 3])
    np.testing.assert_array_equal(item.kspace, truth.kspace[0] * image[:, None])
    extra = np.isin(np.arange(Y), range(13, 24, 2))
    assert relative_difference(item.calibration, truth.kspace[0] * (image + 3 * extra)[:, None]) < 1e-6


def test_partial_fourier_counts_from_the_centre_of_each_line(truth, tmp_path):
    """Lines 0 to 25, whose centre is 8, and an echo before the middle of the readout."""
    lines = [
        line(truth.kspace[0][:, y, 6:], centre=X // 2 - 6, cut=(1, 0), centres=(8, 0), Lin=y - 10) for y in range(10, Y)
    ]
    item = load(foreign_twix.write(tmp_path / "meas.dat", [(protocol(X, Y, factor=1.0), lines)]))
    measured = np.outer(np.arange(Y) >= 10, np.arange(X) >= 7)
    np.testing.assert_array_equal(item.pattern, measured)
    np.testing.assert_array_equal(item.kspace, truth.kspace[0] * measured)


def test_interpolation_is_no_resolution(truth, tmp_path):
    path = one(tmp_path / "meas.dat", truth.kspace[0], uc2DInterpolation=1)
    with pytest.raises(InputError, match="must be within the 18 of its header"):
        open_source("twix", path)
    lines = lines_of(truth.kspace[0])
    path = foreign_twix.write(
        tmp_path / "twice.dat", [(protocol(2 * X, 2 * Y, factor=1.0, uc2DInterpolation=1), lines)]
    )
    np.testing.assert_array_equal(load(path).kspace, truth.kspace[0])


def test_a_volume_becomes_slices_along_its_readout(tmp_path):
    values = random_complex(np.random.default_rng(0), 4, 6, 10, 16)
    lines = [line(values[:, z, y], centres=(5, 3), Lin=y, Par=z) for z in range(6) for y in range(10)]
    path = foreign_twix.write(tmp_path / "meas.dat", [(protocol(16, 10, 6), lines)])
    source = open_source("twix", path)
    found = np.stack([unit[0].load().kspace for unit in source.units.values()], axis=-1)
    assert relative_difference(found, foreign.dft(values.conj(), axes=(-1,)).conj()[..., 4:12]) < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ucTrajectory": 2}, "only Cartesian measurements are supported"),
        ({"alRegridMode": 2}, "samples on the ramps of its gradients"),
        ({"iPEFTLength": 0}, "sizes must be positive, found 32 x 0 x 1"),
        ({"iRoFTLength": 30}, "line 0 does not fit into the readout of 30"),
        ({"iPEFTLength": 60000, "iRoFTLength": 60000}, "can need 512 MiB for a slice at most"),
    ],
)
def test_what_is_not_supported(truth, tmp_path, options, message):
    path = one(tmp_path / "meas.dat", truth.kspace[0], **options)
    with pytest.raises(InputError, match=message):
        load(path)


def test_simultaneous_slices_are_refused(truth, tmp_path):
    lines = lines_of(truth.kspace[0]) + lines_of(truth.kspace[0], range(2), ["SLICE_ACCEL_REFSCAN"])
    path = foreign_twix.write(tmp_path / "meas.dat", [(protocol(X, Y, factor=1.0), lines)])
    with pytest.raises(InputError, match="simultaneous slices"):
        open_source("twix", path)


@pytest.mark.parametrize("size", [0, 7, 5000, 10240, 11000, 20000, -600])
def test_truncated(truth, tmp_path, size):
    path = one(tmp_path / "meas.dat", truth.kspace[0])
    os.truncate(path, size % path.stat().st_size if size < 0 else size)
    with pytest.raises(InputError, match=r"meas\.dat: ") as caught:
        open_source("twix", path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(4000), "Siemens raw data are needed, it begins with b'.x89HDF"),
        (b"", "Siemens raw data are needed, it is empty"),
        (np.array([0, 1], "<u4").tobytes() + bytes(20000), "no 'Meas' in it"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / "meas.dat").write_bytes(content)
    with pytest.raises(InputError, match=f"meas.dat: .*{message}"):
        open_source("twix", tmp_path / "meas.dat")


def test_a_line_of_no_length_ends_in_an_error(truth, tmp_path, capfd):
    """The package would read it again and again."""
    path = one(tmp_path / "meas.dat", truth.kspace[0])
    content = bytearray(path.read_bytes())
    start = 10240 + len(protocol(X, Y, factor=1.0))
    content[start : start + 4] = bytes(4)
    content[start + 40] |= 1 << 5  # SYNCDATA, whose length stands in the first bytes
    path.write_bytes(bytes(content))
    capfd.readouterr()
    with pytest.raises(InputError, match="line 0 is damaged or cut off, it has 0 bytes"):
        open_source("twix", path)
    assert capfd.readouterr() == ("", "")


def test_without_twixtools(truth, tmp_path, monkeypatch):
    path = one(tmp_path / "meas.dat", truth.kspace[0])
    monkeypatch.setattr("bart_bridge.importers.twix.find_spec", lambda name: None)
    with pytest.raises(ToolError, match="install bart-tf with the extra 'twix'"):
        open_source("twix", path)
