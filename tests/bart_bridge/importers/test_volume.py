"""Volumes become slices: right in value, place, orientation and phase, in bounded memory."""

import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.importers.volume import Volume
from tests.foreign import dft
from tests.helper import random_complex, relative_difference

COIL, Z, Y, READOUT = 2, 5, 6, 9


@pytest.fixture
def image():
    """A volume `(coil, z, y, readout)` without any symmetry, of odd and even sizes."""
    return random_complex(np.random.default_rng(0), COIL, Z, Y, READOUT)


@pytest.fixture
def kspace(image):
    return dft(image, (-3, -2, -1)).astype(np.complex64)


def partitions(kspace):
    return lambda: (((z, slice(None)), kspace[:, z]) for z in range(len(kspace[0])))


def lines(kspace):
    """Single lines in random order."""
    order = np.random.default_rng(1).permutation(Z * Y)
    return lambda: (((n // Y, n % Y), kspace[:, n // Y, n % Y]) for n in order)


@pytest.mark.parametrize("pieces", [partitions, lines])
@pytest.mark.parametrize("slices_of_a_block", [1, 2, 9])
def test_each_slice_has_the_image_at_its_position(image, kspace, pieces, slices_of_a_block):
    block = slices_of_a_block * COIL * Z * Y * 8
    volume = Volume("volume", (COIL, Z, Y), READOUT, pieces(kspace), block)
    for position in (0, 1, 8, 3):
        assert relative_difference(dft(volume.load(position).kspace.conj()).conj(), image[..., position]) < 1e-5


@pytest.mark.parametrize("pixels", [4, 5, 8])
def test_oversampling_is_left_out_around_the_centre(image, kspace, pixels):
    volume = Volume("volume", (COIL, Z, Y), pixels, partitions(kspace))
    for position in range(pixels):
        expected = image[..., READOUT // 2 - pixels // 2 + position]
        assert relative_difference(dft(volume.load(position).kspace.conj()).conj(), expected) < 1e-5


def test_lines_without_signal_are_not_measured(kspace):
    mask = np.random.default_rng(2).uniform(size=(Z, Y)) < 0.5
    volume = Volume("volume", (COIL, Z, Y), READOUT, partitions(kspace * mask[:, :, None]))
    item = volume.load(0)
    np.testing.assert_array_equal(item.pattern, mask)
    assert not item.notes


def test_an_asymmetric_echo_is_told(kspace):
    kspace[..., :3] = 0
    volume = Volume("volume", (COIL, Z, Y), READOUT, partitions(kspace))
    assert volume.load(0).notes == ("asymmetric echo: the first 3 of 9 were not measured; they count as 0",)


def test_readouts_that_are_undersampled_are_refused(kspace):
    kspace *= np.arange(READOUT) % 2
    with pytest.raises(InputError, match="found samples with 0 of 30 lines"):
        Volume("volume", (COIL, Z, Y), READOUT, partitions(kspace)).load(0)


def test_nan_is_refused(kspace):
    kspace[1, 2, 3, 4] = np.nan
    with pytest.raises(InputError, match="volume: values must be finite"):
        Volume("volume", (COIL, Z, Y), READOUT, partitions(kspace)).load(0)


def test_k_space_is_read_once_for_each_block(kspace):
    reads = []

    def pieces():
        reads.append(1)
        return partitions(kspace)()

    volume = Volume("volume", (COIL, Z, Y), READOUT, pieces, 3 * COIL * Z * Y * 8)
    for position in range(READOUT):
        volume.load(position)
    assert len(reads) == 3
