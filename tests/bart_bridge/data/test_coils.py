"""Coil sensitivities beyond those of BART, and where that limit is."""

import numpy as np
import pytest

from bart_bridge.data.coils import ring_of_coils
from bart_bridge.errors import ToolError


def test_ring_of_coils():
    coils = ring_of_coils(20, 30, 15)
    assert coils.shape == (15, 30, 20)
    np.testing.assert_allclose(np.sum(np.abs(coils) ** 2, axis=0), 1, rtol=1e-5)
    # Independent, smooth, and each strongest on its own side of the image.
    assert np.linalg.matrix_rank(coils.reshape(15, -1)) == 15
    assert max(np.abs(np.diff(coils, axis=axis)).max() for axis in (1, 2)) < 0.2
    y, x = np.mgrid[-1:1:30j, -1:1:20j]
    for number, coil in enumerate(coils):
        angle = 2 * np.pi * number / 15
        moment = np.sum(np.abs(coil) ** 2 * (x + 1j * y))
        assert abs(np.angle(moment * np.exp(-1j * angle))) < 0.3


def test_the_limit_of_bart_is_8_coils(toolbox):
    """If this fails, BART draws more than it did and `ring_of_coils` is needed less."""
    assert toolbox.compute("phantom", "-S", 8, "-x", 16).shape[3] == 8
    with pytest.raises(ToolError):
        toolbox.compute("phantom", "-S", 9, "-x", 16)
