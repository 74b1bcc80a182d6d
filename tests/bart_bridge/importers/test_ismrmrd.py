"""ISMRMRD files as scanners, converters and generators leave them."""

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx, to_batch_map_coil_yx
from bart_bridge.importers import open_source
from tests import foreign, foreign_raw
from tests.foreign_raw import CALIBRATION, NOISE, header, line, slice_lines
from tests.helper import relative_difference

X, Y = foreign.X, foreign.Y


# Groups


def test_groups_are_listed_and_chosen(truth, imported, tmp_path):
    path = tmp_path / "raw.h5"
    for number, group in enumerate(("first", "second")):
        foreign_raw.write(path, header(), slice_lines(truth.kspace[number]), group)
    with pytest.raises(InputError, match=r"it has 2 groups of raw data \(first, second\); choose one by --group"):
        open_source("ismrmrd", path)
    with pytest.raises(InputError, match=r"there is no group 'third' of raw data \(found: first, second\)"):
        open_source("ismrmrd", path, group="third")
    np.testing.assert_array_equal(imported(path, group="second")[1]["kspace"][0], truth.kspace[1])


def test_the_only_group_may_have_any_name(truth, imported, tmp_path):
    path = foreign_raw.write(tmp_path / "raw.h5", header(), slice_lines(truth.kspace[0]), "scan-7")
    np.testing.assert_array_equal(imported(path)[1]["kspace"][0], truth.kspace[0])


# Counters


@pytest.mark.parametrize("counter", ["repetition", "contrast", "set", "phase"])
def test_a_counter_with_several_values_is_chosen(truth, imported, tmp_path, counter):
    lines = [item for number in range(3) for item in slice_lines(truth.kspace[number], **{counter: number})]
    path = foreign_raw.write(tmp_path / "raw.h5", header(), lines)
    option = {"set": "set_"}.get(counter, counter)
    with pytest.raises(InputError, match=rf"it has 3 {counter}s \(0, 1, 2\); choose one, such as --{counter} 0"):
        open_source("ismrmrd", path)
    source, arrays = imported(path, **{option: "2"})
    np.testing.assert_array_equal(arrays["kspace"][0], truth.kspace[2])
    assert source.left_out[f"lines of another {counter}"] == 2 * Y


@pytest.mark.parametrize(("average", "expected"), [(None, 0.5), ("average", 0.5), ("0", 0), ("1", 1)])
def test_averages_are_averaged_or_chosen(truth, imported, tmp_path, average, expected):
    lines = [item for number in (0, 1) for item in slice_lines(truth.kspace[0] + number, average=number)]
    path = foreign_raw.write(tmp_path / "raw.h5", header(), lines)
    kspace = imported(path, **({"average": average} if average else {}))[1]["kspace"][0]
    assert relative_difference(kspace, truth.kspace[0] + expected) < 1e-6


def test_segments_are_parts_of_one_image(truth, imported, tmp_path):
    lines = [line(truth.kspace[0, :, y], kspace_encode_step_1=y, segment=y % 4) for y in range(Y)]
    np.testing.assert_array_equal(
        imported(foreign_raw.write(tmp_path / "raw.h5", header(), lines))[1]["kspace"][0], truth.kspace[0]
    )


# Calibration


def central(kspace):
    return np.where(((np.arange(Y) >= 6) & (np.arange(Y) < 30))[:, None], kspace, 0)


@pytest.mark.parametrize("field", ["repetition", "contrast", "set", "phase", "average"])
def test_calibration_measured_once_serves_each_choice(truth, toolbox, imported, tmp_path, field):
    """Its counter may have another value than the chosen image lines."""
    lines = slice_lines(truth.kspace[0], range(6, 30), [CALIBRATION], **{field: 0})
    for number in (1, 2):
        lines += slice_lines(number * truth.kspace[0], range(0, Y, 2), **{field: number})
    path = foreign_raw.write(tmp_path / "raw.h5", header(), lines)
    source, arrays = imported(path, "", toolbox, **{{"set": "set_"}.get(field, field): "2"})
    even = (np.arange(Y) % 2 == 0)[:, None]
    np.testing.assert_array_equal(arrays["kspace"][0], 2 * truth.kspace[0] * even)
    measured = np.where(central(np.ones((Y, 1))), truth.kspace[0], 2 * truth.kspace[0] * even)
    expected = toolbox.compute("ecalib", "-m", 1, from_batch_coil_yx(measured[None]))
    np.testing.assert_array_equal(arrays["coils"], to_batch_map_coil_yx(expected))
    assert source.left_out["lines for calibration alone (no samples, but ecalib uses them)"] == 24


def test_calibration_of_another_grid_is_left_out(truth, imported, tmp_path):
    other = header((X // 2, Y, 1))
    encoding = other[other.index("<encoding>") : other.index("</ismrmrdHeader>")]
    xml = header().replace("</ismrmrdHeader>", encoding + "</ismrmrdHeader>")
    lines = slice_lines(truth.kspace[0])
    lines += slice_lines(truth.kspace[0, ..., : X // 2], range(6), [CALIBRATION], encoding_space_ref=1)
    source, arrays = imported(foreign_raw.write(tmp_path / "raw.h5", xml, lines))
    assert source.left_out["calibration lines of another encoding"] == 6
    np.testing.assert_array_equal(arrays["kspace"][0], truth.kspace[0])


def test_images_of_two_encodings_are_refused(truth, tmp_path):
    lines = slice_lines(truth.kspace[0], range(18)) + slice_lines(truth.kspace[0], range(18, Y), encoding_space_ref=1)
    path = foreign_raw.write(tmp_path / "raw.h5", header(encodings=2), lines)
    with pytest.raises(InputError, match="image lines of one encoding are supported, they use encodings 0, 1 of the 2"):
        open_source("ismrmrd", path)


def test_an_encoding_that_the_header_does_not_have(truth, tmp_path):
    path = foreign_raw.write(tmp_path / "raw.h5", header(), slice_lines(truth.kspace[0], encoding_space_ref=3))
    with pytest.raises(InputError, match="they use encodings 3 of the 1 of its header"):
        open_source("ismrmrd", path)


# Readouts


def test_reversed_readouts_are_turned_around_their_centre(truth, imported, tmp_path):
    """An echo before the middle, in lines of both directions: the centre is that of the turned line."""
    lines = slice_lines(truth.kspace[0][..., 6:], center_sample=X // 2 - 6, discard_pre=1, discard_post=3)
    for item in lines[1::2]:
        item.data[:] = item.data[:, ::-1].copy()
        item.discard_pre, item.discard_post = 3, 1
        item.set_flag(foreign_raw.REVERSE)
    source, arrays = imported(foreign_raw.write(tmp_path / "raw.h5", header(), lines))
    expected = truth.kspace[0] * ((np.arange(X) >= 7) & (np.arange(X) < X - 3))
    np.testing.assert_array_equal(arrays["kspace"][0], expected)
    assert any(
        "18 of 36 readouts were reversed and are turned; there is no correction" in note for note in source.notes
    )


@pytest.mark.parametrize(("delay", "refused"), [(30, True), (100, False), (None, False)])
def test_epi_on_the_ramps_of_its_gradients_is_refused(truth, tmp_path, delay, refused):
    from ismrmrd import xsd

    described = xsd.CreateFromDocument(header(trajectory="EPI"))
    times = {"rampUpTime": 100} | ({} if delay is None else {"acqDelayTime": delay})
    described.encoding[0].trajectoryDescription = xsd.trajectoryDescriptionType(
        identifier="ConventionalEPI",
        userParameterLong=[xsd.userParameterLongType(name=name, value=value) for name, value in times.items()],
    )
    path = foreign_raw.write(tmp_path / "raw.h5", described.toXML(), slice_lines(truth.kspace[0]))
    if refused:
        with pytest.raises(InputError, match=r"on the ramps of its gradients is not supported \(it starts 30 us"):
            open_source("ismrmrd", path)
    else:
        assert open_source("ismrmrd", path).units["0"][0].load().fully_sampled


@pytest.mark.parametrize("claimed", [X, 2 * X])
def test_oversampling_is_seen_in_the_lines_where_the_header_has_none(truth, imported, tmp_path, claimed):
    _, kspace = truth.oversampled()
    path = foreign_raw.write(tmp_path / "raw.h5", header((claimed, Y, 1), X), slice_lines(kspace[0]))
    source, arrays = imported(path)
    assert relative_difference(arrays["kspace"][0], truth.kspace[0]) < 1e-5
    assert (source.notes == ()) is (claimed == 2 * X)
    assert claimed == 2 * X or "taken as two-fold oversampling" in source.notes[0]


def test_oversampling_that_was_removed_before_is_not_removed_again(truth, imported, tmp_path):
    path = foreign_raw.write(tmp_path / "raw.h5", header((2 * X, Y, 1), X), slice_lines(truth.kspace[0]))
    source, arrays = imported(path)
    np.testing.assert_array_equal(arrays["kspace"][0], truth.kspace[0])
    assert "oversampling was removed before" in source.notes[0]


@pytest.mark.parametrize("part", [0.75, 1.5, 3])
def test_readouts_of_another_length_than_the_header_says(truth, tmp_path, part):
    """Shorter ones are incomplete, longer ones are refused unless there are twice as many samples."""
    values = np.resize(truth.kspace[0], (foreign.COILS, Y, int(part * X)))
    path = foreign_raw.write(tmp_path / "raw.h5", header(), slice_lines(values))
    load = next(iter(open_source("ismrmrd", path).units.values()))[0].load
    if part < 1:
        assert load().kspace.shape == truth.kspace[0].shape
    else:
        with pytest.raises(InputError, match=f"line 0 does not fit into the readout of {X} of its header"):
            load()


def test_an_asymmetric_echo_keeps_its_oversampling_and_is_not_sampled_beside_it(truth, tmp_path):
    maps, kspace = truth.oversampled()
    cfl.write(tmp_path / "wide", from_batch_coil_yx(maps[None]))
    lines = slice_lines(kspace[0][..., 20:], center_sample=X - 20)
    path = foreign_raw.write(tmp_path / "raw.h5", header((2 * X, Y, 1), X), lines)
    source = open_source("ismrmrd", path)
    folder = foreign.import_to(tmp_path / "data", "ismrmrd", path, coils=str(tmp_path / "wide"))
    arrays = Dataset.open(folder).split("test").arrays()
    np.testing.assert_array_equal(arrays["pattern"][0, 0], np.broadcast_to(np.arange(2 * X) >= 20, (Y, 2 * X)))
    np.testing.assert_array_equal(arrays["kspace"][0], kspace[0] * (np.arange(2 * X) >= 20))
    assert source.notes == ("readouts are incomplete, so that they keep their oversampling",)


# Partial Fourier


@pytest.mark.parametrize("step", [1, 2])
def test_partial_fourier_is_not_sampled(truth, imported, tmp_path, step):
    """`bart_bridge.importers.partial_fourier` says so."""
    rows = range(10, Y, step)
    path = foreign_raw.write(tmp_path / "raw.h5", header(), slice_lines(truth.kspace[0], rows))
    _, arrays = imported(path)
    np.testing.assert_array_equal(arrays["pattern"][0, 0, :, 0], np.isin(np.arange(Y), rows))


def test_steps_count_from_the_centre_of_the_encoding(truth, imported, tmp_path):
    """Partial Fourier by a scanner: steps 0 to 25, whose centre is 8."""
    lines = [line(truth.kspace[0, :, y], kspace_encode_step_1=y - 10) for y in range(10, Y)]
    path = foreign_raw.write(tmp_path / "raw.h5", header(centre=8), lines)
    _, arrays = imported(path)
    np.testing.assert_array_equal(arrays["kspace"][0], truth.kspace[0] * (np.arange(Y) >= 10)[:, None])


# Volumes


def test_partial_fourier_and_asymmetric_echo_of_a_volume_are_said(truth, tmp_path):
    generator = np.random.default_rng(0)
    values = generator.normal(size=(4, 12, 10, 12)) + 1j * generator.normal(size=(4, 12, 10, 12))
    lines = [
        line(values[:, z, y], kspace_encode_step_1=y, kspace_encode_step_2=z, center_sample=4)
        for z in range(4, 12)
        for y in range(10)
    ]
    path = foreign_raw.write(tmp_path / "raw.h5", header((16, 10, 12), 8), lines)
    source = open_source("ismrmrd", path)
    assert len(source.units) == 8
    slices = [unit[0].load() for unit in source.units.values()]
    whole = np.zeros((4, 12, 10, 16), complex)
    whole[:, 4:, :, 4:] = values[:, 4:]
    expected = foreign.dft(whole.conj(), axes=(-1,)).conj()[..., 4:12]
    assert relative_difference(np.stack([item.kspace for item in slices]), np.moveaxis(expected, -1, 0)) < 1e-5
    for item in slices:
        assert not item.fully_sampled
        assert item.notes == ("asymmetric echo: the first 4 of 16 were not measured; they count as 0",)
        np.testing.assert_array_equal(item.pattern, np.broadcast_to((np.arange(12) >= 4)[:, None], (12, 10)))


def test_calibration_of_a_volume_feeds_ecalib(truth, tmp_path):
    generator = np.random.default_rng(1)
    image, calibration = generator.normal(size=(2, 4, 8, 10, 16)) + 0j

    def lines(values, partitions, flags=()):
        return [
            line(values[:, z, y], flags, kspace_encode_step_1=y, kspace_encode_step_2=z)
            for z in partitions
            for y in range(10)
        ]

    path = foreign_raw.write(
        tmp_path / "raw.h5",
        header((16, 10, 8)),
        lines(image, range(0, 8, 2)) + lines(calibration, range(2, 6), [CALIBRATION]),
    )
    item = open_source("ismrmrd", path).units["3"][0].load()
    image[:, 1::2] = 0
    whole = image.copy()
    whole[:, 2:6] = calibration[:, 2:6]
    for found, values in ((item.kspace, image), (item.calibration, whole)):
        assert relative_difference(found, foreign.dft(values.conj(), axes=(-1,)).conj()[..., 3]) < 1e-5


def test_repeated_lines_of_a_volume_are_averaged(truth, imported, tmp_path):
    """All lines of a second average, which is three times the first one, and one line a third time."""

    def more(kspace):
        for number, factor, places in (
            (1, 3, [(z, y) for z in range(Y) for y in range(X)]),
            (2, 5, [(Y // 2, X // 2)]),
        ):
            for z, y in places:
                counters = {"kspace_encode_step_1": y, "kspace_encode_step_2": z, "average": number}
                yield line(factor * kspace[:, z, y], **counters)

    path = foreign_raw.write_volume(truth, tmp_path / "raw.h5", more=more)
    kspace = imported(path)[1]["kspace"]
    expected = 2 * truth.kspace
    expected[:, :, Y // 2, X // 2] = 3 * truth.kspace[:, :, Y // 2, X // 2]
    assert relative_difference(kspace, expected) < 1e-5


def test_several_volumes_are_units_of_their_positions(truth, tmp_path):
    values = np.random.default_rng(2).normal(size=(4, 4, 6, 8)) + 0j
    lines = [
        line(values[:, z, y] * (slab + 1), kspace_encode_step_1=y, kspace_encode_step_2=z, slice=slab)
        for slab in (0, 1)
        for z in range(4)
        for y in range(6)
    ]
    source = open_source("ismrmrd", foreign_raw.write(tmp_path / "raw.h5", header((8, 6, 4)), lines))
    assert {name: len(entries) for name, entries in source.units.items()} == {"0": 8, "1": 8}
    assert source.units["1"][5].name == "raw.h5/1/5"
    first, second = (source.units[name][5].load().kspace for name in "01")
    assert relative_difference(second, 2 * first) < 1e-6


# What is left out, and limits


def test_noise_scans_and_coordinates_of_cartesian_lines_are_left_out_and_counted(truth, imported, tmp_path):
    noise = line(np.ones((foreign.COILS, 50)), [NOISE])
    positions = np.zeros((X, 2), np.float32)
    lines = [line(truth.kspace[0, :, y], positions=positions, kspace_encode_step_1=y) for y in range(Y)]
    source, arrays = imported(foreign_raw.write(tmp_path / "raw.h5", header(), [noise, *lines]))
    np.testing.assert_array_equal(arrays["kspace"][0], truth.kspace[0])
    assert source.left_out["lines flagged ACQ_IS_NOISE_MEASUREMENT"] == 1
    assert source.left_out["coordinates of Cartesian lines"] == Y


def test_a_slice_too_large_for_memory_is_refused_before_it_is_read(truth, tmp_path):
    path = foreign_raw.write(tmp_path / "raw.h5", header((60000, 60000, 1)), slice_lines(truth.kspace[0]))
    with pytest.raises(InputError, match="can need 512 MiB for a slice at most, found 4 x 60000 x 60000 values"):
        open_source("ismrmrd", path)
