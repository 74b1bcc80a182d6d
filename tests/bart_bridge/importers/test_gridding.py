"""The centre of Cartesian k-space that BART's inverse nufft finds from spokes."""

import numpy as np

from bart_bridge.importers.gridding import cartesian_centre
from bart_bridge.importers.source import Slice
from tests.foreign import dft
from tests.foreign_raw import radial, sampled
from tests.helper import relative_difference


def smooth_images(y, x):
    """Two coil images without small detail, `(coil, y, x)`."""
    rows, columns = np.mgrid[-1 : 1 : y * 1j, -1 : 1 : x * 1j]
    images = [
        np.exp(-8 * ((rows - 0.1) ** 2 + (columns + 0.2) ** 2)),
        np.exp(-6 * (rows**2 + columns**2 + columns / 4)),
    ]
    return np.stack(images) * np.exp(1j * columns)


def test_the_centre_has_the_scale_of_the_image_on_a_smaller_grid(toolbox):
    """Images of 96 x 80 pixels are inverted on 64 x 64."""
    images = smooth_images(80, 96)
    positions = radial(100, 160, 40).astype(np.float32)
    kspace = sampled(images, positions).astype(np.complex64)
    item = Slice(kspace, fully_sampled=False, trajectory=positions, pixels=(80, 96))
    centre = cartesian_centre(item, toolbox)
    assert centre.shape == (2, 80, 96)
    expected = dft(images)
    inner = (slice(None), slice(30, 50), slice(38, 58))
    assert relative_difference(centre[inner], expected[inner]) < 0.02
    outside = np.ones((80, 96), bool)
    outside[16:64, 24:72] = False
    assert not centre[:, outside].any()
