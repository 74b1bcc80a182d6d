"""Radial and spiral ISMRMRD files, whose lines carry their positions in k-space."""

import pytest

from bart_bridge.errors import InputError
from bart_bridge.importers import open_source
from tests import foreign, foreign_raw
from tests.foreign_raw import FACTORS, header, radial, sampled, slice_lines, write_radial
from tests.helper import relative_difference

X, Y = foreign.X, foreign.Y


@pytest.mark.parametrize("unit", FACTORS)
def test_positions_are_read_in_any_unit_that_reaches_the_edge(truth, tmp_path, unit):
    positions = radial(8)
    source = open_source("ismrmrd", write_radial(truth, tmp_path / "raw.h5", positions, unit))
    item = source.units["0"][0].load()
    assert relative_difference(item.trajectory, positions) < 1e-6
    assert relative_difference(item.kspace, sampled(truth.coils * truth.images[0], positions)) < 1e-6
    assert (item.pixels, item.fully_sampled) == ((Y, X), False)
    assert source.notes[0].endswith(f"which are taken as {unit}")


def test_an_oversampled_readout_of_spokes_is_not_cropped(truth, tmp_path):
    """The field of view that is twice as large has twice as many pixels of the same size."""
    positions = radial(8)
    xml = header((2 * X, Y, 1), X, "RADIAL")
    source = open_source("ismrmrd", write_radial(truth, tmp_path / "raw.h5", positions, "cycles per pixel", xml=xml))
    item = source.units["0"][0].load()
    assert relative_difference(item.trajectory, positions) < 1e-6
    assert item.pixels == (Y, X)


@pytest.mark.parametrize("reach", [X / 8, X, 0.0])
def test_a_unit_that_is_not_clear_is_refused(truth, tmp_path, reach):
    path = write_radial(truth, tmp_path / "raw.h5", radial(8, reach=reach))
    with pytest.raises(InputError, match=r"the unit of positions is not clear: they reach .* in 1 / field of view"):
        open_source("ismrmrd", path)


def test_weights_beside_the_positions_are_left_out_and_counted(truth, tmp_path):
    path = write_radial(truth, tmp_path / "raw.h5", radial(8), third=0.3)
    source = open_source("ismrmrd", path)
    assert [count for name, count in source.left_out.items() if name.startswith("weights of samples")] == [8 * 2 * X]
    assert not source.units["0"][0].load().trajectory[2].any()


def test_positions_of_a_third_dimension_are_refused(truth, tmp_path):
    path = write_radial(truth, tmp_path / "raw.h5", radial(8), third=-0.3)
    with pytest.raises(InputError, match=r"kz of two-dimensional data must be 0, found -0.3 in line 0"):
        open_source("ismrmrd", path)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (header(trajectory="SPIRAL"), "need 2 or 3 coordinates of each sample, line 0 has 0"),
        (header((X, Y, 4), trajectory="RADIAL"), "three-dimensional non-Cartesian data are not supported"),
    ],
)
def test_lines_without_positions_and_volumes_of_spokes(truth, tmp_path, xml, message):
    path = foreign_raw.write(tmp_path / "raw.h5", xml, slice_lines(truth.kspace[0]))
    with pytest.raises(InputError, match=message):
        open_source("ismrmrd", path)
