"""Dimensions by name, and views of BART arrays as networks see them."""

import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import Dim, describe, from_batch_coil_yx, to_batch_coil_yx

UNUSED = [dim for dim in Dim if dim.name not in {"X", "Y", "COIL", "SLICE", "AVERAGE", "BATCH"}]


def shape_with(**sizes):
    """BART's 16 dimensions, 1 where nothing is given."""
    return tuple(sizes.get(dim.name.lower(), 1) for dim in Dim)


def numbered(shape):
    """An array as BART stores it, all values different."""
    return np.arange(np.prod(shape), dtype=np.complex64).reshape(shape, order="F")


def test_positions_are_those_of_bart():
    assert len(Dim) == 16
    assert (Dim.X, Dim.Y, Dim.Z, Dim.COIL, Dim.MAPS) == (0, 1, 2, 3, 4)
    assert (Dim.TIME, Dim.SLICE, Dim.AVERAGE, Dim.BATCH) == (10, 13, 14, 15)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((48, 32, 1, 4), "x 48, y 32, coil 4"),
        (shape_with(x=2, maps=3, slice=4, batch=5), "x 2, maps 3, slice 4, batch 5"),
        ((1,) * 16, "a single value"),
    ],
)
def test_describe(shape, text):
    assert describe(shape) == text


def test_to_batch_coil_yx_is_a_view():
    array = numbered(shape_with(x=5, y=4, coil=3, batch=2))
    view = to_batch_coil_yx(array)
    assert view.shape == (2, 3, 4, 5)
    assert np.shares_memory(view, array)
    assert view.flags.c_contiguous
    for x, y, coil, batch in np.ndindex(5, 4, 3, 2):
        assert view[batch, coil, y, x] == array[x, y, 0, coil, *(0,) * 11, batch]


def test_from_batch_coil_yx_is_a_view():
    array = np.arange(120, dtype=np.complex64).reshape(2, 3, 4, 5)
    view = from_batch_coil_yx(array)
    assert view.shape == shape_with(x=5, y=4, coil=3, batch=2)
    assert np.shares_memory(view, array)
    np.testing.assert_array_equal(to_batch_coil_yx(view), array)
    assert view.tobytes(order="F") == array.tobytes()


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 4, 1, 3), shape_with(x=5, y=4, coil=3)])
def test_missing_dimensions_are_one(shape):
    sizes = shape + (1,) * 4
    assert to_batch_coil_yx(numbered(shape)).shape == (1, sizes[3], sizes[1], sizes[0])


def test_file_is_not_read_by_viewing_it(tmp_path):
    cfl.write(tmp_path / "a", numbered(shape_with(x=5, y=4, coil=3, slice=2, batch=2)))
    array = cfl.read(tmp_path / "a")
    assert np.shares_memory(to_batch_coil_yx(array), array)


def test_slices_averages_and_batch_merge_with_slices_fastest():
    array = numbered(shape_with(x=2, y=3, coil=2, slice=3, average=2, batch=2))
    view = to_batch_coil_yx(array)
    assert view.shape == (12, 2, 3, 2)
    assert np.shares_memory(view, array)
    for slices, average, batch in np.ndindex(3, 2, 2):
        item = array[:, :, 0, :, *(0,) * 9, slices, average, batch]
        np.testing.assert_array_equal(view[slices + 3 * (average + 2 * batch)], item.transpose(2, 1, 0))


@pytest.mark.parametrize("dim", UNUSED, ids=lambda dim: dim.name)
def test_other_dimensions_are_refused_by_name(dim):
    name = dim.name.lower()
    with pytest.raises(InputError, match=rf"must be 1, found x 4, .*{name} 2.*batch 3"):
        to_batch_coil_yx(numbered(shape_with(x=4, batch=3, **{name: 2})))
