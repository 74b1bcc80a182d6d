"""Coil sensitivities beyond those of BART, which has up to 8."""

import numpy as np

from bart_bridge.data.coils import ring_of_coils


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


def test_bart_has_8_coils(toolbox):
    assert toolbox.compute("phantom", "-S", 8, "-x", 16).shape[3] == 8
