"""Smooth coil sensitivities for simulations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bart_bridge.files.dims import to_batch_coil_yx
from bart_bridge.tools.toolbox import Toolbox

# `phantom -S` has no more in two dimensions.
_MOST_COILS_OF_BART = 8


def sensitivities(shape: tuple[int, int], coil_count: int, toolbox: Toolbox) -> NDArray[np.complex64]:
    """Return BART's analytic coils, or those of `ring_of_coils` where it has none.

    Args:
        shape: Pixels, `(y, x)`; BART has coils of square images only.
        coil_count: At least 1; BART has up to 8 in two dimensions.
        toolbox: The BART whose `phantom` draws them.

    Returns:
        `(1, coil, y, x)`, with a root sum of squares of 1 at every pixel.
    """
    size_y, size_x = shape
    if coil_count > _MOST_COILS_OF_BART or size_x != size_y:
        return ring_of_coils(size_x, size_y, coil_count)[None]
    coils = to_batch_coil_yx(toolbox.compute("phantom", "-S", coil_count, "-x", size_x))
    return coils / np.sqrt(np.sum(np.abs(coils) ** 2, axis=1, keepdims=True))


def ring_of_coils(size_x: int, size_y: int, coil_count: int) -> NDArray[np.complex64]:
    """Compute smooth sensitivities for any number of coils.

    The image reaches from -1 to 1 along x and y. The coils lie at equal angles a on the circle of radius 1. At the
    distance d, a coil has the magnitude exp(-d^2). Its phase is a plus 1 radian per unit along its own direction, so no
    two coils have the same.

    Args:
        size_x: Pixels along x.
        size_y: Pixels along y.
        coil_count: At least 1.

    Returns:
        `(coil, y, x)`, with a root sum of squares of 1 at every pixel.
    """
    y, x = np.mgrid[-1 : 1 : size_y * 1j, -1 : 1 : size_x * 1j]
    angle = (2 * np.pi * np.arange(coil_count) / coil_count)[:, None, None]
    along = x * np.cos(angle) + y * np.sin(angle)
    squared_distance = (x - np.cos(angle)) ** 2 + (y - np.sin(angle)) ** 2
    coils = np.exp(-squared_distance + 1j * (angle + along))
    return (coils / np.sqrt(np.sum(np.abs(coils) ** 2, axis=0))).astype(np.complex64)
